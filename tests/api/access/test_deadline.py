"""A request's time, and what ends with it."""

import asyncio
import json
from collections.abc import AsyncGenerator

import httpx
import pytest

from qwenvl.api import Settings
from qwenvl.api.access.deadline import Deadline
from qwenvl.api.errors import DeadlineError
from qwenvl.engine import GenerationRequest, SamplingOptions, Step
from tests.api.chatting import CHAT, ask, body, error_of, events_of
from tests.api.live import in_process
from tests.fake_engine import FakeEngine

PROMPT = GenerationRequest(
    "id", (1, 2, 3), (), SamplingOptions(temperature=0, top_p=1, top_k=0, max_tokens=50, ignore_eos=True)
)


async def test_before_the_first_token(engine: FakeEngine) -> None:
    engine.hold()
    async with in_process(engine, Settings(request_timeout=0.05)) as client:
        for stream in (False, True):
            response = await client.post(CHAT, json=body(stream=stream))
            assert response.status_code == 503
            assert error_of(response)["code"] == "deadline_exceeded"
            assert int(response.headers["retry-after"]) >= 1
        assert engine.in_flight == 0
        engine.release()
        await ask(client)


async def test_in_the_middle(engine: FakeEngine) -> None:
    engine.hold(after=3)
    async with in_process(engine, Settings(request_timeout=0.2)) as client:
        response = await client.post(CHAT, json=body(stream=True))
        assert response.status_code == 200
        assert json.loads(events_of(response)[-1])["error"]["code"] == "deadline_exceeded"
        engine.hold(after=3)
        response = await client.post(CHAT, json=body())
        assert response.status_code == 503
        assert error_of(response)["code"] == "deadline_exceeded"
    assert len(engine.aborted) == 2


async def test_while_nobody_reads(engine: FakeEngine) -> None:
    """A slow client keeps the generator at its yield; another task goes on with it, or none ever does."""
    await engine.start()
    async with Deadline(engine, "id", 0.05) as deadline:
        steps = deadline.until(engine.generate(PROMPT))
        assert await asyncio.create_task(anext(steps))
        await engine.until(lambda: engine.in_flight == 0)
        with pytest.raises(DeadlineError):
            await asyncio.create_task(anext(steps))
    assert engine.aborted == ["id"]


async def test_an_engine_that_forgets_the_abort(engine: FakeEngine) -> None:
    """As one does for a request that it still prepares."""
    prepared = asyncio.Event()

    async def never() -> AsyncGenerator[Step]:
        try:
            await asyncio.Event().wait()
            yield Step((), None)  # type: ignore[arg-type]
        finally:
            prepared.set()

    async with Deadline(engine, "unknown", 0.01) as deadline:
        with pytest.raises(DeadlineError):
            async for _ in deadline.until(never()):
                pass
    assert prepared.is_set()


async def test_in_time(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await engine.start()
    async with Deadline(engine, "id", 60) as deadline:
        assert len([step async for step in deadline.until(engine.generate(PROMPT))]) > 1
    assert engine.aborted == []


async def test_waiting_for_a_turn_does_not_count(engine: FakeEngine) -> None:
    settings = Settings(max_running=1, request_timeout=60, queue_timeout=0.01)
    engine.hold()
    async with in_process(engine, settings) as client, asyncio.TaskGroup() as group:
        first = group.create_task(client.post(CHAT, json=body()))
        await engine.until(lambda: engine.in_flight == 1)
        response = await client.post(CHAT, json=body(stream=True))
        assert response.status_code == 503
        assert error_of(response)["code"] == "queue_timeout"
        assert int(response.headers["retry-after"]) >= 1
        engine.release()
    assert first.result().status_code == 200
