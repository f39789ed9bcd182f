"""``/openapi.json`` tells the truth: what it allows is answered, and with a status that it names."""

from collections.abc import Iterator

import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from qwenvl.api import Settings, create_app
from qwenvl.api.openapi import OPEN_PATHS
from tests.api.live import LiveServer
from tests.fake_engine import FakeEngine

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
CONFIG = schemathesis.Config.from_dict({"generation": {"max-examples": 40, "deterministic": True}})


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), image_timeout=0.2)
    with LiveServer(FakeEngine(), settings) as live:
        yield live


SCHEMA = schemathesis.openapi.from_dict(create_app(FakeEngine(), Settings()).openapi(), config=CONFIG)


@SCHEMA.parametrize()
def test_every_operation_as_described(case: schemathesis.Case, live: LiveServer) -> None:
    case.call_and_validate(base_url=live.url, checks=CHECKS)


def test_errors_are_described() -> None:
    for path, methods in SCHEMA.raw_schema["paths"].items():
        for operation in methods.values():
            assert "422" not in operation["responses"]
            assert "503" in operation["responses"]
            assert ("401" in operation["responses"]) == (path not in OPEN_PATHS)
