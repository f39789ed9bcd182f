"""Limits as clients meet them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from qwenvl.api import Settings
from qwenvl.api.access.limits import RESERVED_ANSWER, RateLimits
from qwenvl.api.context import BATCH, Caller, KeyLimits, RequestContext
from qwenvl.api.errors import RateLimitError
from qwenvl.engine import SamplingOptions, Step, Usage
from qwenvl.errors import EngineBusyError
from tests.api.chatting import CHAT, ask, body, error_of, image_part
from tests.api.live import data_url, in_process
from tests.fake_engine import FakeEngine

GREEDY = SamplingOptions(temperature=0, top_p=1, top_k=0, max_tokens=1000)


def context(**limits: int) -> RequestContext:
    return RequestContext("id", Caller("alice", limits=KeyLimits(**limits)))


async def of(usage: Usage) -> AsyncIterator[Step]:
    yield Step((), usage)


def remaining(context: RequestContext) -> int:
    return int(context.response_headers["x-ratelimit-remaining-tokens"])


async def test_tokens_are_reserved_and_settled() -> None:
    limits, asking = RateLimits(), context(tokens_per_minute=2000)
    async with limits.tokens(100, GREEDY, asking) as used:
        assert remaining(asking) == 2000 - 100 - RESERVED_ANSWER
        assert used is not None
        async for _ in used.counted(of(Usage(100, 30))):
            pass
    assert remaining(asking) == 2000 - 130


async def test_an_answer_longer_than_reserved_is_charged() -> None:
    limits, asking = RateLimits(), context(tokens_per_minute=2000)
    async with limits.tokens(100, GREEDY, asking) as used:
        assert used is not None
        used.usage = Usage(100, 1000)
    assert remaining(asking) == 900


async def test_a_refused_request_costs_nothing_and_an_abandoned_one_its_prompt() -> None:
    limits, asking = RateLimits(), context(tokens_per_minute=2000)
    with pytest.raises(EngineBusyError):
        async with limits.tokens(100, GREEDY, asking):
            raise EngineBusyError("full")
    assert remaining(asking) == 2000
    with pytest.raises(asyncio.CancelledError):
        async with limits.tokens(100, GREEDY, asking):
            raise asyncio.CancelledError
    assert remaining(asking) == 1900


async def test_a_reservation_is_never_larger_than_the_limit() -> None:
    limits, asking = RateLimits(), context(tokens_per_minute=200)
    async with limits.tokens(150, GREEDY, asking):
        assert remaining(asking) == 0
        with pytest.raises(RateLimitError, match="Used 200, Requested 200"):
            async with limits.tokens(150, GREEDY, asking):
                pytest.fail("nothing is left")


async def test_batches_are_not_counted() -> None:
    limits = RateLimits()
    batch = RequestContext("id", Caller("alice", limits=KeyLimits(tokens_per_minute=10)), BATCH)
    async with limits.tokens(1000, GREEDY, batch) as used:
        assert used is None


KEYS = """
[keys.alice]
key = "a"
requests_per_minute = 3
[keys.bob]
key = "b"
tokens_per_minute = 400
[keys.carol]
key = "c"
concurrent_requests = 1
[keys.dave]
key = "d"
"""


@pytest_asyncio.fixture
async def keyed(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    (tmp_path / "keys.toml").write_text(KEYS)
    async with in_process(engine, Settings(api_key_file=tmp_path / "keys.toml")) as http:
        yield http


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_requests_per_minute(keyed: httpx.AsyncClient) -> None:
    for left in (2, 1, 0):
        response = await keyed.post(CHAT, json=body(), headers=bearer("a"))
        assert response.status_code == 200
        assert response.headers["x-ratelimit-limit-requests"] == "3"
        assert response.headers["x-ratelimit-remaining-requests"] == str(left)
        assert response.headers["x-ratelimit-reset-requests"].endswith("s")
        assert "x-ratelimit-limit-tokens" not in response.headers
    response = await keyed.post(CHAT, json=body(), headers=bearer("a"))
    assert response.status_code == 429
    error = error_of(response)
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert "Limit 3, Used 3, Requested 1" in error["message"]
    assert 1 <= int(response.headers["retry-after"]) <= 120
    assert response.headers["x-ratelimit-remaining-requests"] == "0"
    # What only reads is not counted, and neither are others.
    assert (await keyed.get("/v1/models", headers=bearer("a"))).status_code == 200
    assert (await keyed.post(CHAT, json=body(), headers=bearer("d"))).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_per_minute(keyed: httpx.AsyncClient, stream: bool) -> None:
    response = await keyed.post(CHAT, json=body("Hello", max_tokens=8, stream=stream), headers=bearer("b"))
    assert response.status_code == 200
    assert response.headers["x-ratelimit-limit-tokens"] == "400"
    left = int(response.headers["x-ratelimit-remaining-tokens"])
    if not stream:
        assert left == 400 - response.json()["usage"]["total_tokens"]
    response = await keyed.post(CHAT, json=body("Hello", max_tokens=900, n=2), headers=bearer("b"))
    assert response.status_code == 429
    error = error_of(response)
    assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
    assert int(response.headers["retry-after"]) >= 1


async def test_images_count_with_all_their_positions(keyed: httpx.AsyncClient, images: Path) -> None:
    picture = image_part(data_url((images / "a.png").read_bytes()))
    first = await keyed.post(CHAT, json=body([picture], max_tokens=1), headers=bearer("b"))
    assert first.status_code == 200
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 400 - 256
    response = await keyed.post(CHAT, json=body([picture, picture], max_tokens=1), headers=bearer("b"))
    assert response.status_code == 429
    assert "Request too large" in error_of(response)["message"]
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers


async def test_concurrent_requests(keyed: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.hold()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(keyed.post(CHAT, json=body(), headers=bearer("c")))
        await engine.until(lambda: engine.in_flight == 1)
        second = await keyed.post(CHAT, json=body(), headers=bearer("c"))
        assert second.status_code == 429
        assert "concurrent requests: Limit 1, Used 1" in error_of(second)["message"]
        assert second.headers["retry-after"] == "1"
        engine.release()
    assert first.result().status_code == 200
    assert (await keyed.post(CHAT, json=body(), headers=bearer("c"))).status_code == 200


async def test_without_keys_all_share_one_minute(engine: FakeEngine) -> None:
    async with in_process(engine, Settings(requests_per_minute=2)) as client:
        await ask(client)
        await ask(client)
        response = await client.post(CHAT, content=json.dumps(body()), headers=bearer("anything"))
        assert response.status_code == 429
        assert "for anonymous on requests per min" in error_of(response)["message"]


async def test_without_limits_there_are_no_headers(client: httpx.AsyncClient) -> None:
    response = await client.post(CHAT, json=body())
    assert not [name for name in response.headers if name.startswith("x-ratelimit")]
