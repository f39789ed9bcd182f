"""``docs/operations.md`` names every metric and every field of the log."""

import inspect
import re
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from qwenvl.api.telemetry.logs import JSON_FIELDS, ROUTINE, log_access

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
NAMES = set(re.findall(r"`([^`\n]+)`", PAGE))


async def test_every_metric_is_there_and_no_other(client: httpx.AsyncClient) -> None:
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    exposed = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if not family.name.endswith("_created")
    }
    assert {name for name in NAMES if re.fullmatch("qwenvl_[a-z_]+", name)} == exposed


def test_every_field_of_the_log_is_there() -> None:
    fields = set(re.findall(r'^        "(\w+)":', inspect.getsource(log_access), re.MULTILINE))
    assert len(fields) > 10
    assert fields | {"request_id", *JSON_FIELDS} | ROUTINE <= NAMES
