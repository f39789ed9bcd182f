"""Who asks, and in what circumstances: made once for each request, handed to whatever works on it."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from qwenvl.api.telemetry.record import RequestRecord, current_record

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
        record: what is noted about the request.
    """

    request_id: str
    caller: Caller = Caller()
    priority: int = INTERACTIVE
    route: str = ""
    response_headers: MutableMapping[str, str] = field(default_factory=dict)
    trace_headers: Mapping[str, str] = field(default_factory=dict)
    record: RequestRecord = field(default_factory=RequestRecord)


def new_context(request_id: str) -> RequestContext:
    """A context for the request that has just come in."""
    record = current_record() or RequestRecord()
    record.request_id = request_id
    return RequestContext(request_id, trace_headers=record.trace.headers, record=record)


def context_of(request: Request) -> RequestContext:
    """The context that the middlewares gave the request, with the route that was found for it."""
    return replace(context_in(request.scope), route=request.scope["route"].path_format)


def context_in(scope: Scope) -> RequestContext:
    """The same, for an ASGI scope."""
    context: RequestContext = scope["state"][_STATE]
    return context


def set_context(scope: Scope, context: RequestContext) -> None:
    """Give the request a context, or another one that knows more."""
    state: dict[str, Any] = scope.setdefault("state", {})
    state[_STATE] = context
