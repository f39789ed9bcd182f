"""What happens around every request. Plain ASGI, so that a client's leaving reaches the routes."""

import logging
import re
import uuid
from collections.abc import Sequence

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwenvl.api.access.keys import check_key
from qwenvl.api.context import RequestContext, set_context
from qwenvl.api.errors import AuthenticationError, BodyTooLargeError, ClientDisconnectedError, error_response

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class RequestBoundary:
    """Names each request and turns what nobody expected into a 500. A client may bring its own name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        brought = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = brought if _ACCEPTED_ID.fullmatch(brought) else uuid.uuid4().hex
        context = RequestContext(request_id)
        set_context(scope, context)
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update({REQUEST_ID: request_id, **context.response_headers})
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception as error:
            logger.exception("request %s failed unexpectedly", request_id)
            if started:
                raise
            await error_response(error)(scope, receive, send_named)


class Authentication:
    """Wants a key for every path below /v1, whether it exists or not."""

    def __init__(self, app: ASGIApp, api_keys: Sequence[SecretStr]) -> None:
        self._app = app
        self._api_keys = api_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._api_keys and _is_below_v1(scope["path"]):
            try:
                check_key(Headers(scope=scope).get("authorization"), self._api_keys)
            except AuthenticationError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class BodyLimit:
    """Reads the body up to a limit before anything looks at it."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except BodyTooLargeError as error:
            await error_response(error)(scope, receive, send)
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


def _is_below_v1(path: str) -> bool:
    return path == "/v1" or path.startswith("/v1/")
