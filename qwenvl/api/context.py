"""Who asks, and in what circumstances: made once for each request, handed to whatever works on it."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

INTERACTIVE = 0
BATCH = 1
"""Priorities: requests of a lower number run first."""

_STATE = "qwenvl"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may ask for; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of an API key.

    Attributes:
        name: of the key; what belongs to a caller (files, batches, stored responses) is kept under it.
        is_admin: may change what the server serves.
    """

    name: str = "anonymous"
    is_admin: bool = False
    limits: KeyLimits = KeyLimits()


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request's circumstances.

    Attributes:
        request_id: in the response's ``x-request-id`` and in the log.
        priority: ``INTERACTIVE`` or ``BATCH``.
        route: path of the route that does the work, for metrics.
        response_headers: added to the response if it has not started yet, such as rate limits.
        trace_headers: W3C trace context for the engine's spans.
    """

    request_id: str
    caller: Caller = Caller()
    priority: int = INTERACTIVE
    route: str = ""
    response_headers: MutableMapping[str, str] = field(default_factory=dict)
    trace_headers: Mapping[str, str] = field(default_factory=dict)


def context_of(request: Request) -> RequestContext:
    """The context that the middlewares gave the request."""
    return context_in(request.scope)


def context_in(scope: Scope) -> RequestContext:
    """The same, for an ASGI scope."""
    context: RequestContext = scope["state"][_STATE]
    return context


def set_context(scope: Scope, context: RequestContext) -> None:
    """Give the request a context, or another one that knows more."""
    state: dict[str, Any] = scope.setdefault("state", {})
    state[_STATE] = context
