"""Exceptions to OpenAI's error object, and the errors that only HTTP knows."""

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from qwenvl.errors import EngineBusyError, EngineDeadError, EngineError, UserError

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


class BodyTooLargeError(UserError):
    """The request body passes the limit."""

    status = 413

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request body is larger than the limit of {limit} bytes. "
            "Send fewer or smaller images, or pass them as URLs.",
            code="request_too_large",
        )


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
    return 503 if isinstance(error, EngineBusyError | EngineDeadError) else 500


def headers_of(error: Exception) -> Mapping[str, str]:
    if isinstance(error, EngineBusyError):
        return {"Retry-After": str(RETRY_SECONDS)}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, AuthenticationError) else {}


def describe(error: Exception) -> ErrorResponse:
    """The error object for any exception; what is not the client's to mend says nothing of the inside."""
    if isinstance(error, UserError):
        kind = _TYPES_BY_STATUS.get(error.status, "invalid_request_error")
        return _response(error.message, kind, error.param, error.code)
    if isinstance(error, EngineBusyError):
        message = "The engine holds as many requests as it can and takes no more just now. Try again in a moment."
        return _response(message, "server_error", None, "engine_busy")
    if isinstance(error, EngineDeadError):
        message = "The engine has stopped and serves no more requests. Try again once the server has restarted."
        return _response(message, "server_error", None, "engine_dead")
    if isinstance(error, EngineError):
        return _response("The engine failed to answer this request.", "server_error", None, "engine_error")
    return _response("The server failed to answer this request.", "server_error", None, "internal_error")


def error_response(error: Exception) -> JSONResponse:
    return JSONResponse(describe(error).model_dump(), status_of(error), headers_of(error))


def install(app: FastAPI) -> None:
    """Answer every expected exception with an error object. Unexpected ones are :class:`RequestBoundary`'s."""
    app.add_exception_handler(UserError, _answer_error)
    app.add_exception_handler(EngineError, _answer_error)
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
    return ErrorResponse(error=ErrorBody(message=message, type=kind, param=param, code=code))
