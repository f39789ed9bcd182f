from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from qwenvl.api import Settings
from tests.api.chatting import CHAT, body
from tests.api.live import in_process
from tests.fake_engine import FakeEngine

ORIGIN = "https://app.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
}


def guarded(*origins: str) -> Settings:
    return Settings.model_validate({"api_keys": ("key",), "cors_origins": origins})


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(FakeEngine(), guarded(ORIGIN)) as client:
        yield client


async def test_off_by_default(client: httpx.AsyncClient) -> None:
    response = await client.post(CHAT, json=body(), headers={"Origin": ORIGIN})
    assert not [name for name in response.headers if name.startswith("access-control")]
    preflight = await client.options(CHAT, headers=PREFLIGHT)
    assert preflight.status_code == 405
    assert "access-control-allow-origin" not in preflight.headers


async def test_browsers_ask_without_a_key(opened: httpx.AsyncClient) -> None:
    response = await opened.options(CHAT, headers=PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "authorization" in response.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in response.headers


async def test_answers_and_errors_can_be_read(opened: httpx.AsyncClient) -> None:
    for key, status in (("key", 200), ("wrong", 401)):
        headers = {"Origin": ORIGIN, "Authorization": f"Bearer {key}"}
        response = await opened.post(CHAT, json=body(), headers=headers)
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["x-request-id"]
        exposed = response.headers["access-control-expose-headers"]
        assert "x-request-id" in exposed
        assert "x-ratelimit-remaining-requests" in exposed


async def test_other_origins_stay_out(opened: httpx.AsyncClient) -> None:
    foreign = {"Origin": "https://evil.example", "Authorization": "Bearer key"}
    response = await opened.post(CHAT, json=body(), headers=foreign)
    assert "access-control-allow-origin" not in response.headers
    preflight = await opened.options(CHAT, headers=PREFLIGHT | {"Origin": "https://evil.example"})
    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers


async def test_any_origin_without_cookies() -> None:
    async with in_process(FakeEngine(), guarded("*")) as client:
        headers = {"Origin": ORIGIN, "Authorization": "Bearer key", "Cookie": "a=b"}
        response = await client.post(CHAT, json=body(), headers=headers)
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
