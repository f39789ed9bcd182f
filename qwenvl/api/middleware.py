"""What happens around every request. Plain ASGI, so that a client's leaving reaches the routes."""

import asyncio
import logging
import re
import uuid
from contextlib import AsyncExitStack
from dataclasses import replace

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwenvl.api.access.keys import Keyring
from qwenvl.api.access.limits import RateLimits
from qwenvl.api.context import context_in, new_context, set_context
from qwenvl.api.errors import (
    AuthenticationError,
    BodyTimeoutError,
    BodyTooLargeError,
    ClientDisconnectedError,
    RateLimitError,
    describe,
    error_response,
)
from qwenvl.api.lifecycle import Lifecycle

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


OPEN_PATHS = frozenset({"/health", "/ready"})
"""What supervisors ask, who have no key."""

Pages = frozenset[str]
"""Paths that anybody may read, and do no more with."""


def _is_open(scope: Scope, pages: Pages) -> bool:
    return scope["path"] in OPEN_PATHS or (scope["path"] in pages and scope["method"] in ("GET", "HEAD"))


_EVENT_STREAM = "text/event-stream"


class RequestBoundary:
    """Names each request, and ends in order what nobody expected and what a stopping server cuts off.

    A client may bring its own name for a request.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        brought = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = brought if _ACCEPTED_ID.fullmatch(brought) else uuid.uuid4().hex
        context = new_context(request_id)
        set_context(scope, context)
        response: MutableHeaders | None = None

        async def send_named(message: Message) -> None:
            nonlocal response
            if message["type"] == "http.response.start":
                response = MutableHeaders(scope=message)
                response.update({REQUEST_ID: request_id, **context.response_headers})
                if self._lifecycle.draining:
                    # The client's next request goes to a server that stays.
                    response["connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception as error:
            logger.exception("request %s failed unexpectedly", request_id)
            if response is not None:
                raise
            await error_response(error)(scope, receive, send_named)
        except asyncio.CancelledError:
            # A server that stops cuts off what is left in the end. Nothing outside waits for this task's cancellation.
            if not self._lifecycle.is_stopping:
                raise
            reason = self._lifecycle.reason_to_stop
            if response is None:
                await error_response(reason)(scope, receive, send_named)
            elif response.get("content-type", "").startswith(_EVENT_STREAM):
                event = f"data: {describe(reason).model_dump_json()}\n\n"
                await send({"type": "http.response.body", "body": event.encode(), "more_body": False})
            else:
                raise


class Authentication:
    """Tells who asks, and wants a key for every path but the health checks' and ``pages``, whether it exists or not."""

    def __init__(self, app: ASGIApp, keyring: Keyring, pages: Pages = frozenset()) -> None:
        self._app = app
        self._keyring = keyring
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_open(scope, self._pages):
            try:
                caller = self._keyring.caller(Headers(scope=scope).get("authorization"))
            except AuthenticationError as error:
                await error_response(error)(scope, receive, send)
                return
            set_context(scope, replace(context_in(scope), caller=caller))
        await self._app(scope, receive, send)


class RequestLimits:
    """Counts each POST against its caller's limits, and turns away those past them before their body is read.

    The other methods read or remove what is there, which costs next to nothing.
    """

    def __init__(self, app: ASGIApp, limits: RateLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        async with AsyncExitStack() as in_work:
            try:
                await in_work.enter_async_context(self._limits.request(context_in(scope)))
            except RateLimitError as error:
                await error_response(error)(scope, receive, send)
                return
            await self._app(scope, receive, send)


class BodyLimit:
    """Reads the body, up to a size and for a time, before anything looks at it.

    Args:
        max_bytes: largest body.
        timeout: seconds from the headers to the last byte.
        uploads: paths whose POST routes read the body themselves, within limits of their own.
        pages: paths that are read without a key.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        timeout: float,
        uploads: frozenset[str] = frozenset(),
        pages: Pages = frozenset(),
    ) -> None:
        self._app = app
        self._pages = pages
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Who needs no key must not fill the memory either: what is sent to an open path is left unread.
        unread = scope["type"] != "http" or _is_open(scope, self._pages)
        if unread or (scope["method"] == "POST" and scope["path"] in self._uploads):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout):
                body = await self._read(scope, receive)
        except BodyTooLargeError as error:
            await error_response(error)(scope, receive, send)
            return
        except TimeoutError:
            await error_response(BodyTimeoutError(self._timeout))(scope, receive, send)
            return
        except ClientDisconnectedError:
            return

        async def receive_again() -> Message:
            nonlocal body
            if body is None:
                return await receive()
            message, body = {"type": "http.request", "body": body, "more_body": False}, None
            return message

        await self._app(scope, receive_again, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        announced = Headers(scope=scope).get("content-length", "")
        # By the number of digits first: Python refuses to read thousands of them.
        if announced.isdecimal() and (len(announced) > 18 or int(announced) > self._max_bytes):
            raise BodyTooLargeError(self._max_bytes)
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                raise BodyTooLargeError(self._max_bytes)
            more = message.get("more_body", False)
        return bytes(body)


BEGUN_AT_ONCE = 8
"""Requests that two rounds of the event loop take into work: a turn lasts for two. Each takes a millisecond or two."""


class Turns:
    """Takes few requests into work between two rounds of the event loop.

    When hundreds come at the same moment, the streams that are running wait for a few of them at a time, not for all.
    It belongs behind what turns requests away, and behind the reading of bodies, which makes them come together.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turns = asyncio.Semaphore(BEGUN_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            async with self._turns:
                await asyncio.sleep(0)
        await self._app(scope, receive, send)
