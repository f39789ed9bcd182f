"""Server-sent events, by sse-starlette."""

import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from sse_starlette import EventSourceResponse
from sse_starlette.sse import AppStatus, SendTimeoutError
from starlette.types import Receive, Scope, Send

from qwenvl.api.errors import describe
from qwenvl.api.generation import while_connected
from qwenvl.errors import QwenVLError

logger = logging.getLogger(__name__)

DONE = "[DONE]"

SEND_SECONDS = 60.0
"""Longest that one event may wait for a client to read those before it."""

# Line ends to some clients' line readers, though not to JSON.
_LINE_SEPARATORS = re.compile("[\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class NamedEvent:
    """An event with a name of its own, in an ``event:`` line before its data."""

    name: str
    data: str


def let_streams_finish() -> None:
    """Keep sse-starlette from ending streams when the server is told to stop: here they may finish, within a limit."""
    AppStatus.enable_automatic_graceful_drain = False


async def event_stream(receive: Receive, events: AsyncGenerator[str | NamedEvent]) -> EventSourceResponse:
    """A response of ``data:`` events, named or not, with comments in between where an event takes long.

    The headers go out with the first event, so what is raised before it becomes an ordinary error response. When the
    client leaves, ``events`` is cancelled and closed.

    Args:
        receive: the request's channel; its body must have been read.
        events: each event's data, JSON or plain text without line ends. Must not raise after the first event.

    Raises:
        ClientDisconnectedError: the client left before the first event.
    """
    try:
        first = await while_connected(receive, anext(events))
    except BaseException:
        await events.aclose()
        raise
    return _ClosingResponse(first, events)


async def ending_with_error(events: AsyncGenerator[str], end: str | None = None) -> AsyncGenerator[str]:
    """The same events, and ``end``. An error before the first is raised; a later one is the last event, with no end.

    The headers are out by then, and a client must not take what it got for the whole.
    """
    started = False
    async with aclosing(events):
        try:
            async for event in events:
                started = True
                yield event
        except Exception as error:
            if not started:
                raise
            if not isinstance(error, QwenVLError):
                logger.exception("a stream failed unexpectedly")
            yield describe(error).model_dump_json()
            return
    if end is not None:
        yield end


class _ClosingResponse(EventSourceResponse):
    """Closes ``rest`` however it ends, also where the client leaves before the headers or the first event are sent."""

    def __init__(self, first: str | NamedEvent, rest: AsyncGenerator[str | NamedEvent]) -> None:
        super().__init__(
            _encoded(first, rest), sep="\n", headers={"Cache-Control": "no-cache"}, send_timeout=SEND_SECONDS
        )
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest):
            try:
                await super().__call__(scope, receive, send)
            except SendTimeoutError:
                # The server closes the connection of a response that does not end.
                logger.info("a client read nothing of its stream for %g s", SEND_SECONDS)


async def _encoded(first: str | NamedEvent, rest: AsyncGenerator[str | NamedEvent]) -> AsyncGenerator[bytes]:
    yield encode_event(first)
    async for event in rest:
        yield encode_event(event)


def encode_event(event: str | NamedEvent) -> bytes:
    """One event, its data on one line whatever the client takes for a line end."""
    name, data = (f"event: {event.name}\n", event.data) if isinstance(event, NamedEvent) else ("", event)
    if not data.isascii():
        data = _LINE_SEPARATORS.sub(lambda separator: f"\\u{ord(separator[0]):04x}", data)
    return f"{name}data: {data}\n\n".encode()
