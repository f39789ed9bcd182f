import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from qwenvl.api import Settings
from qwenvl.api.middleware import BEGUN_AT_ONCE, Turns
from tests.api.chatting import CHAT, body, error_of
from tests.api.live import LiveServer, in_process
from tests.fake_engine import FakeEngine

KEYS = Settings.model_validate({"api_keys": ("first", "schlüssel"), "max_body_bytes": 2048})


async def test_open_without_keys(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic first", "first", "Bearer firs"]
)
@pytest.mark.parametrize("path", ["/v1/models", CHAT, "/v1/nothing", "/metrics", "/version", "/openapi.json", "/"])
async def test_keys_are_wanted_everywhere(header: str | None, path: str) -> None:
    async with in_process(FakeEngine(), KEYS) as client:
        headers = {} if header is None else {"Authorization": header}
        response = await client.post(path, json=body(), headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        error = error_of(response)
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        assert "first" not in error["message"]


@pytest.mark.parametrize("header", [b"Bearer first", b"bearer  first ", "Bearer schlüssel".encode()])
async def test_any_key_opens(header: bytes) -> None:
    async with in_process(FakeEngine(), KEYS) as client:
        response = await client.post(CHAT, json=body(), headers=[(b"Authorization", header)])
        assert response.status_code == 200


async def test_health_checks_are_open() -> None:
    async with in_process(FakeEngine(), KEYS) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/ready")).status_code == 200
        assert (await client.get("/health/")).status_code == 401


async def test_bodies_for_open_paths_are_not_read() -> None:
    """They would be memory that anyone can take."""
    taken = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(5):
            taken += 1
            yield b" " * 100

    async with in_process(FakeEngine(), KEYS) as client:
        response = await client.request("POST", "/health", content=chunks())
        assert response.status_code == 405
        assert taken == 0


async def test_body_limit_by_header_and_by_reading(settings: Settings) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1000

    small = settings.model_copy(update={"max_body_bytes": 2048})
    async with in_process(FakeEngine(), small) as client:
        for content in (b" " * 5000, chunks()):
            response = await client.post(CHAT, content=content, headers={"Content-Type": "application/json"})
            assert response.status_code == 413
            assert "2048 bytes" in error_of(response)["message"]
        assert (await client.post(CHAT, json=body())).status_code == 200


@pytest.mark.parametrize("announced", [b"9" * 5000, b"\xb2", b"-1", b"x"])
async def test_odd_lengths_are_no_server_errors(client: httpx.AsyncClient, announced: bytes) -> None:
    response = await client.post(CHAT, json=body(), headers=[(b"Content-Length", announced)])
    assert response.status_code in (200, 413)


def test_body_limit_over_a_socket(engine: FakeEngine) -> None:
    with LiveServer(engine, Settings(max_body_bytes=2048)) as live, httpx.Client(base_url=live.url) as http:
        for _ in range(2):
            response = http.post(CHAT, content=b" " * 5_000_000, headers={"Content-Type": "application/json"})
            assert response.status_code == 413
        assert http.post(CHAT, json=body()).status_code == 200


@pytest.mark.parametrize(
    ("brought", "kept"), [("abc-1_2.3:4", True), ("", False), ("a b", False), ("x" * 129, False), ("é", False)]
)
async def test_request_id(client: httpx.AsyncClient, brought: str, kept: bool) -> None:
    for path in ("/health", "/nothing"):
        response = await client.get(path, headers=[(b"X-Request-Id", brought.encode())])
        assert (response.headers["x-request-id"] == brought) is kept
        assert response.headers["x-request-id"]


async def test_a_rush_of_requests_leaves_the_loop_to_others() -> None:
    rounds = 0
    begun_in: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun_in.append(rounds)

    async def other_work() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    turns = Turns(app)
    other = asyncio.create_task(other_work())
    await asyncio.gather(*(turns({"type": "http", "path": CHAT}, no_body, nowhere) for _ in range(100)))
    other.cancel()
    assert len(begun_in) == 100
    assert max(Counter(begun_in).values()) <= BEGUN_AT_ONCE


async def test_health_checks_wait_for_no_turn() -> None:
    answered: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answered.append(scope["path"])

    turns = Turns(app)
    paths = [*[CHAT] * 50, "/health"]
    await asyncio.gather(*(turns({"type": "http", "path": path}, no_body, nowhere) for path in paths))
    assert answered[0] == "/health"


async def no_body() -> Message:
    raise AssertionError("nothing reads it")


async def nowhere(message: Message) -> None:
    raise AssertionError("nothing is sent")
