"""``docs/api.md`` lists every route, parameter and error code there is, and says what the code does with each."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

import qwenvl
from qwenvl.api import Settings, create_app
from qwenvl.api.chat.schemas import MAX_MESSAGES, MAX_PARTS
from qwenvl.api.refused import (
    CHAT,
    COMPLETIONS,
    DETOKENIZE,
    GROUNDING,
    LOAD_ADAPTER,
    TOKENIZE,
    UNLOAD_ADAPTER,
    Surface,
)
from qwenvl.api.responses.parameters import REFUSED_FIELDS, RESPONSES
from qwenvl.api.wire import MAX_SEED
from qwenvl.chat.vocabulary import MAX_COMBINING_MARKS
from tests.fake_engine import FakeEngine

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "api.md").read_text(encoding="utf-8")
OPENAPI = create_app(FakeEngine(), Settings()).openapi()
OPERATIONS = [(method.upper(), path) for path, methods in OPENAPI["paths"].items() for method in methods]

SURFACES: Mapping[str, tuple[Surface, frozenset[str]]] = {
    "POST /v1/chat/completions": (CHAT, frozenset()),
    "POST /v1/completions": (COMPLETIONS, frozenset()),
    "POST /v1/responses": (RESPONSES, frozenset(REFUSED_FIELDS)),
    "POST /v1/grounding": (GROUNDING, frozenset()),
    "POST /tokenize": (TOKENIZE, frozenset()),
    "POST /detokenize": (DETOKENIZE, frozenset()),
    "POST /v1/load_lora_adapter": (LOAD_ADAPTER, frozenset()),
    "POST /v1/unload_lora_adapter": (UNLOAD_ADAPTER, frozenset()),
}
OPENAIS = {
    "POST /v1/chat/completions": chat_create_params.CompletionCreateParamsBase,
    "POST /v1/completions": completion_create_params.CompletionCreateParamsBase,
    "POST /v1/responses": response_create_params.ResponseCreateParamsBase,
}


def section(route: str) -> str:
    """What the page says below the headline of a route; empty where it has none."""
    _, _, below = PAGE.partition(f"### `{route}`\n")
    return re.split(r"^##", below, maxsplit=1, flags=re.MULTILINE)[0]


def rows(route: str) -> Iterator[tuple[str, str]]:
    """(parameter, kind) of the route's table."""
    for names, kind in re.findall(r"^\| (`.+?`) \| (\w+) \|", section(route), flags=re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", names):
            yield name, kind


def accepted(method: str, path: str) -> set[str]:
    """Parameters that the route reads, as ``/openapi.json`` has them."""
    operation = OPENAPI["paths"][path][method.lower()]
    names = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        names |= set(resolved(content["schema"]).get("properties", {}))
    return names


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = OPENAPI["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_route_and_parameter_is_there_once(method: str, path: str) -> None:
    route = f"{method} {path}"
    assert f"| `{route}` |" in PAGE
    surface, _ = SURFACES.get(route, (Surface({}, frozenset()), None))
    assert sorted(name for name, _ in rows(route)) == sorted(accepted(method, path) | set(surface.refused))


def test_no_route_is_there_that_is_not() -> None:
    known = {f"{method} {path}" for method, path in OPERATIONS} | {"GET /openapi.json"}
    assert set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", PAGE, flags=re.MULTILINE)) == known


@pytest.mark.parametrize("route", SURFACES)
def test_what_is_done_with_each_is_right(route: str) -> None:
    surface, refused_fields = SURFACES[route]
    openais = set(OPENAIS[route].__annotations__) | {"stream"} if route in OPENAIS else set()
    for name, kind in rows(route):
        if name in surface.refused or name in refused_fields:
            assert kind == "refused", name
        elif name in surface.ignored:
            assert kind == "ignored", name
        else:
            assert kind == ("honoured" if name in openais else "extension"), name


def test_every_error_code_is_there() -> None:
    codes: set[str] = set()
    for source in Path(qwenvl.__file__).parent.rglob("*.py"):
        codes |= set(re.findall(r'\bcode="([a-z_]+)"', source.read_text(encoding="utf-8")))
    everywhere = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    assert not {code for code in codes if f"`{code}`" not in everywhere}


def test_limits_that_no_setting_moves_are_there() -> None:
    assert f"1 to {MAX_MESSAGES:,}" in PAGE
    assert f"up to {MAX_PARTS:,} parts" in PAGE
    assert f"2^63 - {2**63 - MAX_SEED}" in PAGE
    assert f"More than {MAX_COMBINING_MARKS} combining marks" in PAGE
