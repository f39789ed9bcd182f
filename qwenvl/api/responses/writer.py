"""The output of a response while it grows, and the events that tell of it, in OpenAI's order."""

import itertools
import time
from collections.abc import Iterator
from typing import Any, Literal

from qwenvl.api.chat.objects import PositionLogprob
from qwenvl.api.errors import ErrorBody
from qwenvl.api.grounding.findings import Read
from qwenvl.api.responses.events import ErrorEvent, Event, ResponseEvent
from qwenvl.api.responses.growing import GrowingCall, GrowingMessage
from qwenvl.api.responses.objects import (
    IncompleteDetails,
    ItemStatus,
    OutputItem,
    Response,
    ResponseFailure,
    ResponseUsage,
)
from qwenvl.engine import FinishReason

_FAILURES: dict[str | None, str] = {"rate_limit_exceeded": "rate_limit_exceeded"}
"""What OpenAI's type knows of our error codes; the rest is the server's fault."""


class ResponseWriter:
    """Writes one response. Every method returns the events it causes; what they hold does not change later."""

    def __init__(self) -> None:
        self._response: Response | None = None
        self._numbers = itertools.count()
        self._done: list[OutputItem] = []
        self._writing: GrowingMessage | GrowingCall | None = None

    @property
    def response(self) -> Response:
        """As the last event that carries it has it. There is none before it was opened."""
        assert self._response is not None, "the response was not opened"
        return self._response

    @property
    def is_open(self) -> bool:
        """Some events were told."""
        return self._response is not None

    @property
    def is_whole(self) -> bool:
        """The response has come to its end, be it cut short by the limit of tokens."""
        return self._response is not None and self._response.status in ("completed", "incomplete")

    @property
    def is_empty(self) -> bool:
        """No item was begun."""
        return not self._done and self._writing is None

    def open(self, response: Response) -> Iterator[Event]:
        """The beginning, with the response as it is before it has an output."""
        self._response = response
        yield self._tell("response.created")
        yield self._tell("response.in_progress")

    def text(self, delta: str, logprobs: list[PositionLogprob], read: Read | None = None) -> Iterator[Event]:
        """More of a message, which begins here unless one is being written; ``read`` where findings are told."""
        if not isinstance(self._writing, GrowingMessage):
            yield from self._end_item("completed")
            self._writing = GrowingMessage(len(self._done), tells_findings=read is not None)
            yield from self._writing.begin(self._numbers)
        if read is not None:
            self._writing.note(read)
        if delta or logprobs or (read is not None and read.findings):
            yield self._writing.add(delta, logprobs, read.findings if read is not None else [], self._numbers)

    def call(self, call_id: str, name: str) -> Iterator[Event]:
        """A call of a function begins; its arguments follow."""
        yield from self._end_item("completed")
        self._writing = GrowingCall(len(self._done), call_id, name)
        yield self._writing.begin(self._numbers)

    def arguments(self, delta: str) -> Iterator[Event]:
        """More of the arguments of the call that is being written."""
        assert isinstance(self._writing, GrowingCall), "arguments belong to a call"
        yield self._writing.add(delta, self._numbers)

    def close(self, reason: FinishReason, usage: ResponseUsage) -> Iterator[Event]:
        """The end: of the last item, and of the response."""
        cut = reason == "length"
        yield from self._end_item("incomplete" if cut else "completed")
        self._change(
            status="incomplete" if cut else "completed",
            completed_at=None if cut else int(time.time()),
            incomplete_details=IncompleteDetails(reason="max_output_tokens") if cut else None,
            output=self._done,
            usage=usage,
        )
        yield self._tell("response.incomplete" if cut else "response.completed")

    def fail(self, error: ErrorBody) -> Iterator[Event]:
        """The end by an error: once as such, and once as the state of the response."""
        yield ErrorEvent(
            type="error",
            sequence_number=next(self._numbers),
            code=error.code,
            message=error.message,
            param=error.param,
            error=error,
        )
        failure = ResponseFailure(code=_FAILURES.get(error.code, "server_error"), message=error.message)
        output = [*self._done, self._writing.item("incomplete")] if self._writing else self._done
        self._change(status="failed", error=failure, output=output)
        yield self._tell("response.failed")

    def _end_item(self, status: ItemStatus) -> Iterator[Event]:
        if self._writing is None:
            return
        yield from self._writing.end(status, self._numbers)
        self._done.append(self._writing.item(status))
        self._writing = None

    def _change(self, **fields: Any) -> None:
        self._response = self.response.model_copy(update=fields)

    def _tell(
        self,
        kind: Literal[
            "response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed"
        ],
    ) -> ResponseEvent:
        return ResponseEvent(type=kind, sequence_number=next(self._numbers), response=self.response)
