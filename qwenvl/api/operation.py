"""What every generating route is: an operation, for HTTP here and for batches in ``api.batches``."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel

from qwenvl.api.context import RequestContext, context_of
from qwenvl.api.generation import while_connected
from qwenvl.api.sse import NamedEvent, event_stream
from qwenvl.api.validation import parse_body


class Operation(Protocol):
    """What a generating route does, without HTTP."""

    @property
    def path(self) -> str:
        """The route's path."""

    @property
    def wire(self) -> type[BaseModel]:
        """What a request's body is; its ``stream`` asks for events."""

    def check(self, wire: Any) -> None:
        """What can be told from the request's fields alone.

        Raises:
            UserError: they are refused.
        """

    async def answer(self, wire: Any, context: RequestContext) -> BaseModel:
        """The response's body.

        Raises:
            UserError: the request is refused.
            EngineError: the engine failed.
        """

    def events(self, wire: Any, context: RequestContext) -> AsyncGenerator[str | NamedEvent]:
        """The response as events. Errors before the first are raised, errors after it are the last event."""


async def respond(request: Request, operation: Operation) -> Response:
    """Answer a request, at once or as server-sent events, for as long as its client waits.

    Raises:
        UserError: the request is refused.
        EngineError: the engine failed before the first event.
    """
    wire: Any = await parse_body(request, operation.wire)
    operation.check(wire)
    context = context_of(request)
    if wire.stream:
        return await event_stream(request.receive, operation.events(wire, context))
    body = await while_connected(request.receive, operation.answer(wire, context))
    return Response(body.model_dump_json(exclude_unset=True), media_type="application/json")
