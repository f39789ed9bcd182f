import asyncio

import httpx
import pytest
from starlette.types import Message

from qwenvl.api.errors import ClientDisconnectedError
from qwenvl.api.generation import while_connected
from tests.api.chatting import CHAT, body
from tests.api.live import LiveServer
from tests.fake_engine import FakeEngine


async def connected() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def disconnected() -> Message:
    return {"type": "http.disconnect"}


async def test_result_and_error_of_the_work_come_through() -> None:
    async def work() -> int:
        return 3

    async def fail() -> int:
        raise ValueError("mine")

    assert await while_connected(connected, work()) == 3
    with pytest.raises(ValueError, match="mine"):
        await while_connected(connected, fail())


async def test_disconnect_cancels_and_waits_for_the_work() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    with pytest.raises(ClientDisconnectedError):
        await while_connected(disconnected, work())
    assert ended == [True]


async def test_cancelling_cancels_the_work() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(while_connected(connected, work()))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


def test_leaving_a_stream_aborts_its_request(live: LiveServer, engine: FakeEngine) -> None:
    engine.hold(after=2)
    with (
        httpx.Client(base_url=live.url) as http,
        http.stream("POST", CHAT, json=body(stream=True, ignore_eos=True)) as response,
    ):
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        assert engine.in_flight == 1
    live.call(engine.until(lambda: engine.in_flight == 0))
    assert engine.aborted == [engine.requests[0].request_id]
    live.call_soon(engine.release)
    assert httpx.post(live.url + CHAT, json=body()).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_before_the_first_token_aborts(live: LiveServer, engine: FakeEngine, stream: bool) -> None:
    engine.hold()
    async with httpx.AsyncClient(base_url=live.url) as http:
        asking = asyncio.create_task(http.post(CHAT, json=body(stream=stream)))
        await asyncio.to_thread(live.call, engine.until(lambda: engine.in_flight == 1))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.to_thread(live.call, engine.until(lambda: len(engine.aborted) == 1))
        assert engine.in_flight == 0
        live.call_soon(engine.release)
        assert (await http.post(CHAT, json=body())).status_code == 200
