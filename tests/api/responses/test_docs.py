"""``docs/responses.md`` says what the code does."""

from pathlib import Path

from openai.types.responses import response_create_params

from qwenvl.api import Settings, create_app
from qwenvl.api.responses.parameters import INCLUDABLE, RESPONSES
from qwenvl.api.responses.schemas import MAX_ITEMS, MAX_LISTED, CreateResponseRequest
from qwenvl.api.responses.store import MAX_STORED_BYTES
from tests.fake_engine import FakeEngine

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "responses.md").read_text(encoding="utf-8")
PARAMETERS = (DOCS / "api.md").read_text(encoding="utf-8")
OPENAI = {
    *response_create_params.ResponseCreateParamsBase.__annotations__,
    *response_create_params.ResponseCreateParamsStreaming.__annotations__,
}


def test_all_of_openais_parameters_are_known() -> None:
    assert {*CreateResponseRequest.model_fields, *RESPONSES.refused} >= OPENAI


def test_limits_are_there() -> None:
    assert f"1 to {MAX_ITEMS:,} items" in PARAMETERS
    assert f"1 to {MAX_LISTED}" in PARAMETERS
    assert f"{MAX_STORED_BYTES // 2**20} MiB" in PAGE
    assert all(f"`{name}`" in PARAMETERS for name in INCLUDABLE)


def test_every_route_is_there() -> None:
    for path, methods in create_app(FakeEngine(), Settings()).openapi()["paths"].items():
        if path.startswith("/v1/responses"):
            assert all(f"`{method.upper()} {path}`" in PAGE for method in methods)
