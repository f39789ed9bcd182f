import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from qwenvl.api import sse
from qwenvl.api.sse import encode_event, event_stream


async def connected() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("leaving_at", ["http.response.start", "http.response.body"])
@pytest.mark.parametrize("leaves_by", [OSError, asyncio.CancelledError])
async def test_events_are_closed_wherever_the_client_leaves(leaving_at: str, leaves_by: type[BaseException]) -> None:
    closed = []

    async def events() -> AsyncGenerator[str]:
        try:
            yield "first"
            yield "second"
        finally:
            closed.append(True)

    async def send(message: Message) -> None:
        if message["type"] == leaving_at:
            raise leaves_by

    generator = events()  # held, so that no garbage collector closes it
    response = await event_stream(connected, generator)
    task = asyncio.create_task(response({"type": "http", "method": "POST"}, connected, send))
    await asyncio.gather(task, return_exceptions=True)
    assert closed == [True]


def test_every_line_reader_sees_one_line() -> None:
    text = "a\u2028b\u2029c\x85d\ne"
    event = encode_event(json.dumps({"text": text}, ensure_ascii=False)).decode()
    assert event.endswith("\n\n")
    (line, blank) = event.splitlines()
    assert blank == ""
    assert json.loads(line.removeprefix("data: ")) == {"text": text}


async def test_a_client_that_reads_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sse, "SEND_SECONDS", 0.01)
    caplog.set_level("INFO")
    closed = []

    async def events() -> AsyncGenerator[str]:
        try:
            yield "first"
            yield "second"
        finally:
            closed.append(True)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    response = await event_stream(connected, events())
    await response({"type": "http", "method": "POST"}, connected, send)
    assert closed
    assert "read nothing of its stream" in caplog.text
