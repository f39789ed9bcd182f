import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from qwenvl.api import Settings, create_app
from qwenvl.errors import CheckpointError
from tests.api.chatting import CHAT, body, error_of
from tests.fake_engine import FakeEngine, broken_checkpoint_engine


async def test_lifespan_starts_drains_and_stops() -> None:
    engine = FakeEngine()
    app = create_app(engine, Settings(drain_timeout=5))
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")
    async with http, asyncio.TaskGroup() as group:
        async with app.router.lifespan_context(app):
            assert engine.is_alive
            engine.hold()
            asking = group.create_task(http.post(CHAT, json=body()))
            await engine.until(lambda: engine.in_flight == 1)
            # Runs when shutting down first waits, which is while it drains.
            asyncio.get_running_loop().call_soon(engine.release)
        assert not engine.is_alive
        assert engine.stopped == 1
        assert (await asking).status_code == 200


async def test_shutdown_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    app = create_app(engine, Settings(drain_timeout=0.01))
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")
    async with http, asyncio.TaskGroup() as group:
        async with app.router.lifespan_context(app):
            engine.hold()
            asking = group.create_task(http.post(CHAT, json=body()))
            await engine.until(lambda: engine.in_flight == 1)
        assert "1 requests did not finish" in caplog.text
        assert (await asking).status_code == 503


async def test_a_start_that_fails_is_raised_and_cleaned_up() -> None:
    engine = broken_checkpoint_engine()
    app = create_app(engine, Settings())
    with pytest.raises(CheckpointError):
        async with app.router.lifespan_context(app):
            pytest.fail("the app must not start")
    assert engine.stopped == 1


@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/docs"])
async def test_unknown_routes(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert error_of(response)["code"] == "unknown_url"


async def test_wrong_method(client: httpx.AsyncClient) -> None:
    response = await client.get(CHAT)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert error_of(response)["code"] == "method_not_allowed"


async def test_two_apps_share_nothing() -> None:
    first, second = FakeEngine(), FakeEngine()
    apps = [create_app(engine, Settings()) for engine in (first, second)]
    async with apps[0].router.lifespan_context(apps[0]):
        assert first.is_alive
        assert not second.is_alive


async def test_openapi_describes_the_request(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    schema = document["paths"][CHAT]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"model", "messages", "temperature"} <= set(schema["properties"])
    references = list(references_in(document))
    assert references
    for reference in references:
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step.replace("~1", "/")]
        assert found["type"] == "object"


def references_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from [node["$ref"]] if "$ref" in node else []
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references_in(child)
