"""Exceptions to OpenAI's error object, and the errors that only HTTP knows."""

import logging
from collections.abc import Mapping
from math import ceil
from typing import Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from qwenvl.api.telemetry.record import note_error
from qwenvl.engine.adapters import AdapterLoadError
from qwenvl.errors import EngineBusyError, EngineDeadError, EngineError, QwenVLError, UserError

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left; only logs ever see it."""

RETRY_SECONDS = 1
"""When to try again where the engine is full."""

_TYPES_BY_STATUS: Mapping[int, str] = {401: "authentication_error", 403: "permission_error"}


class AuthenticationError(UserError):
    """The key is missing or wrong."""

    status = 401

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key")


class PermissionDeniedError(UserError):
    """The key is valid, and may not do this."""

    status = 403

    def __init__(self, message: str) -> None:
        super().__init__(message, code="insufficient_permissions")


class RateLimitError(UserError):
    """The caller has used up what its key may use.

    Args:
        message: the limit, what is used of it, and when to try again.
        kind: what was limited, OpenAI's ``type``.
        retry_after: seconds; None where the same request can never be answered.
    """

    status = 429

    def __init__(self, message: str, *, kind: Literal["requests", "tokens"], retry_after: float | None) -> None:
        super().__init__(message, code="rate_limit_exceeded")
        self.kind = kind
        self.retry_after = retry_after


class OverloadedError(QwenVLError):
    """The server cannot answer this request now, and could later.

    Args:
        message: why, for the client.
        code: machine-readable reason.
        retry_after: seconds.
    """

    def __init__(self, message: str, *, code: str, retry_after: float) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retry_after = retry_after


class DeadlineError(OverloadedError):
    """The request took longer than a request may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The request was not answered within the {seconds:g} s that one may take. Ask for fewer tokens, or try "
            "again when the server is less busy.",
            code="deadline_exceeded",
            retry_after=RETRY_SECONDS,
        )


class DrainingError(OverloadedError):
    """The server is told to stop."""

    def __init__(self) -> None:
        super().__init__(
            "The server is stopping. Try again in a moment.", code="server_stopping", retry_after=RETRY_SECONDS
        )


class BodyTooLargeError(UserError):
    """The request body passes the limit."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request body is larger than the limit of {limit} bytes. "
            "Send fewer or smaller images, or pass them as URLs.",
            code="request_too_large",
        )


class BodyTimeoutError(UserError):
    """The request body did not arrive in time."""

    status = 408

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request body did not arrive within {seconds:g} s.", code="request_timeout")


class MediaTypeError(UserError):
    """The body is not declared as JSON."""

    status = 415


class ClientDisconnectedError(Exception):
    """The client left before its answer was complete."""


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """OpenAI's error object."""

    error: ErrorBody


def status_of(error: Exception) -> int:
    if isinstance(error, UserError):
        return error.status
    return 503 if isinstance(error, EngineBusyError | EngineDeadError | OverloadedError) else 500


def headers_of(error: Exception) -> Mapping[str, str]:
    if isinstance(error, BodyTimeoutError):
        return {"Connection": "close"}
    if isinstance(error, EngineBusyError):
        return {"Retry-After": str(RETRY_SECONDS)}
    if isinstance(error, OverloadedError | RateLimitError):
        if error.retry_after is None:
            # OpenAI's clients repeat every 429 that does not say so.
            return {"x-should-retry": "false"}
        return {"Retry-After": str(max(1, ceil(error.retry_after)))}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, AuthenticationError) else {}


def describe(error: Exception) -> ErrorResponse:
    """The error object for any exception; what is not the client's to mend says nothing of the inside."""
    if isinstance(error, RateLimitError):
        return _response(error.message, error.kind, error.param, error.code)
    if isinstance(error, OverloadedError):
        return _response(error.message, "server_error", None, error.code)
    if isinstance(error, UserError):
        kind = _TYPES_BY_STATUS.get(error.status, "invalid_request_error")
        return _response(error.message, kind, error.param, error.code)
    if isinstance(error, EngineBusyError):
        message = "The engine holds as many requests as it can and takes no more just now. Try again in a moment."
        return _response(message, "server_error", None, "engine_busy")
    if isinstance(error, EngineDeadError):
        message = "The engine has stopped and serves no more requests. Try again once the server has restarted."
        return _response(message, "server_error", None, "engine_dead")
    if isinstance(error, AdapterLoadError):
        logger.error("%s", error, exc_info=error.__cause__)
        message = f"The server failed to load the adapter {error.name!r}; its log says why."
        return _response(message, "server_error", None, "engine_error")
    if isinstance(error, EngineError):
        logger.error("the engine failed on a request", exc_info=error)
        return _response("The engine failed to answer this request.", "server_error", None, "engine_error")
    return _response("The server failed to answer this request.", "server_error", None, "internal_error")


def error_response(error: Exception) -> JSONResponse:
    return JSONResponse(describe(error).model_dump(), status_of(error), headers_of(error))


def install(app: FastAPI) -> None:
    """Answer every expected exception with an error object. Unexpected ones are :class:`RequestBoundary`'s."""
    app.add_exception_handler(UserError, _answer_error)
    app.add_exception_handler(EngineError, _answer_error)
    app.add_exception_handler(OverloadedError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(ClientDisconnectedError, _answer_nobody)


async def _answer_error(request: Request, error: Exception) -> Response:
    return error_response(error)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """Errors of the framework: unknown routes and methods."""
    assert isinstance(error, HTTPException)
    message, code = error.detail, None
    if error.status_code == 404:
        message, code = f"There is no route {request.method} {request.url.path}.", "unknown_url"
    elif error.status_code == 405:
        message, code = f"{request.url.path} does not take {request.method}.", "method_not_allowed"
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    return JSONResponse(_response(message, kind, None, code).model_dump(), error.status_code, error.headers)


async def _answer_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _response(message: str, kind: str, param: str | None, code: str | None) -> ErrorResponse:
    note_error(code or kind)
    return ErrorResponse(error=ErrorBody(message=message, type=kind, param=param, code=code))
