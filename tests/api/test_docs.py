"""``docs/api.md`` names everything there is."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from qwenvl.api import Settings, create_app
from qwenvl.api.chat.schemas import MAX_MESSAGES, MAX_PARTS, ChatCompletionRequest
from qwenvl.api.media.loader import MAX_FETCHES
from qwenvl.api.refused import REFUSED
from qwenvl.api.wire import MAX_SEED
from qwenvl.chat.vocabulary import MAX_COMBINING_MARKS
from tests.fake_engine import FakeEngine

PAGE = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
NAMES = set(re.findall(r"`([^`\n]+)`", PAGE))


@pytest.mark.parametrize("names", [ChatCompletionRequest.model_fields, REFUSED, Settings.model_fields])
def test_every_name_is_there(names: Iterable[str]) -> None:
    assert set(names) <= NAMES


def test_settings_are_described_as_in_the_code() -> None:
    assert all(str(field.description) in PAGE for field in Settings.model_fields.values())


def test_limits_that_no_setting_moves_are_there() -> None:
    assert f"1 to {MAX_MESSAGES:,}" in PAGE
    assert f"up to {MAX_PARTS:,} parts" in PAGE
    assert f"2^63 - {2**63 - MAX_SEED}" in PAGE
    assert f"More than {MAX_COMBINING_MARKS} combining marks" in PAGE
    assert MAX_FETCHES == 4
    assert "Up to four images of a request are fetched at a time" in PAGE


def test_every_route_is_there() -> None:
    for path in create_app(FakeEngine(), Settings()).openapi()["paths"]:
        assert path.replace("{name}", "{id}") in PAGE
