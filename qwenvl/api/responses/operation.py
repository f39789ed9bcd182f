"""The operation that generates: from a request for a response to the engine and back."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from qwenvl.api.context import RequestContext
from qwenvl.api.errors import describe
from qwenvl.api.gateway import Gateway
from qwenvl.api.responses.events import Event
from qwenvl.api.responses.objects import Response
from qwenvl.api.responses.parameters import check_parameters
from qwenvl.api.responses.preparation import prepare
from qwenvl.api.responses.schemas import CreateResponseRequest
from qwenvl.api.responses.store import ResponseStore, StoredItem, StoredResponse
from qwenvl.api.responses.translation import Reading, respond
from qwenvl.api.responses.writer import ResponseWriter
from qwenvl.api.routes.models import check_served
from qwenvl.api.sse import NamedEvent
from qwenvl.errors import QwenVLError

logger = logging.getLogger(__name__)

PATH = "/v1/responses"


class Responses:
    """Answers requests for responses, and keeps the answers for those that go on from there."""

    path = PATH
    wire = CreateResponseRequest

    def __init__(self, gateway: Gateway, store: ResponseStore) -> None:
        self._gateway = gateway
        self._store = store

    def check(self, wire: CreateResponseRequest) -> None:
        """What can be told from the request's fields alone.

        Raises:
            UserError: another model is asked for, or something that is not supported.
        """
        check_served(wire.model, self._gateway.engine)
        check_parameters(wire)

    async def answer(self, wire: CreateResponseRequest, context: RequestContext) -> Response:
        writer = ResponseWriter()
        async with aclosing(self._run(wire, context, writer)) as events:
            async for _ in events:
                pass
        return writer.response

    async def events(self, wire: CreateResponseRequest, context: RequestContext) -> AsyncGenerator[NamedEvent]:
        """The response's events. Errors before the first are raised, errors after it are told as the last two."""
        writer = ResponseWriter()
        try:
            async with aclosing(self._run(wire, context, writer)) as events:
                async for event in events:
                    yield _named(event)
        except Exception as error:
            if not writer.is_open:
                raise
            if not isinstance(error, QwenVLError):
                logger.exception("a stream failed unexpectedly")
            for event in writer.fail(describe(error).error):
                yield _named(event)

    async def _run(
        self, wire: CreateResponseRequest, context: RequestContext, writer: ResponseWriter
    ) -> AsyncGenerator[Event]:
        async with self._gateway.admitted(context):
            prepared = await prepare(wire, context, self._gateway, self._store)
            reading = Reading(self._gateway.info.vocabulary, prepared.form, prepared.grounding, prepared.shows_logprobs)
            async with (
                self._gateway.steps(prepared.request, context) as steps,
                aclosing(respond(steps, prepared.response, writer, reading)) as events,
            ):
                async for event in events:
                    # Before the client hears of the end, as it may go on from there at once.
                    if writer.is_whole and prepared.response.store:
                        self._keep(context.caller.name, writer.response, prepared.input)
                    yield event

    def _keep(self, owner: str, response: Response, before: tuple[StoredItem, ...]) -> None:
        body = response.model_dump_json(exclude_unset=True).encode()
        output = tuple(StoredItem.of(item.for_history()) for item in response.output)
        self._store.add(owner, response.id, StoredResponse(body, before, output))


def _named(event: Event) -> NamedEvent:
    return NamedEvent(event.type, event.model_dump_json(exclude_unset=True))
