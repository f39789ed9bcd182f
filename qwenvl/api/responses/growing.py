"""Output items while they grow, and the events of their growth."""

from collections.abc import Iterator
from typing import Literal

from qwenvl.api.chat.objects import PositionLogprob
from qwenvl.api.grounding.findings import Read
from qwenvl.api.grounding.objects import FindingObject
from qwenvl.api.responses.events import (
    ArgumentsDeltaEvent,
    ArgumentsDoneEvent,
    ContentPartEvent,
    Event,
    OutputItemEvent,
    TextDeltaEvent,
    TextDoneEvent,
)
from qwenvl.api.responses.items import new_id
from qwenvl.api.responses.objects import FunctionCall, ItemStatus, OutputMessage, OutputText


class GrowingMessage:
    """A message while it grows. It has one part."""

    def __init__(self, index: int, *, tells_findings: bool = False) -> None:
        self._index = index
        self._id = new_id("msg")
        self._texts: list[str] = []
        self._logprobs: list[PositionLogprob] = []
        self._findings: list[FindingObject] | None = [] if tells_findings else None
        self._written: list[str] = []

    def item(self, status: ItemStatus) -> OutputMessage:
        content = [] if status == "in_progress" else [self._part()]
        return OutputMessage(id=self._id, type="message", role="assistant", status=status, content=list(content))

    def begin(self, numbers: Iterator[int]) -> Iterator[Event]:
        yield OutputItemEvent(
            type="response.output_item.added",
            sequence_number=next(numbers),
            output_index=self._index,
            item=self.item("in_progress"),
        )
        yield self._tell_part("response.content_part.added", numbers)

    def note(self, read: Read) -> None:
        """More that was found, and the text as the model wrote it."""
        assert self._findings is not None
        self._findings += read.findings
        self._written.append(read.written)

    def add(
        self, delta: str, logprobs: list[PositionLogprob], findings: list[FindingObject], numbers: Iterator[int]
    ) -> Event:
        self._texts.append(delta)
        self._logprobs += logprobs
        event = TextDeltaEvent(
            type="response.output_text.delta",
            sequence_number=next(numbers),
            item_id=self._id,
            output_index=self._index,
            content_index=0,
            delta=delta,
            logprobs=logprobs,
        )
        if findings:
            event.grounding = findings
        return event

    def end(self, status: ItemStatus, numbers: Iterator[int]) -> Iterator[Event]:
        yield TextDoneEvent(
            type="response.output_text.done",
            sequence_number=next(numbers),
            item_id=self._id,
            output_index=self._index,
            content_index=0,
            text="".join(self._texts),
            logprobs=self._logprobs,
        )
        yield self._tell_part("response.content_part.done", numbers)
        yield OutputItemEvent(
            type="response.output_item.done",
            sequence_number=next(numbers),
            output_index=self._index,
            item=self.item(status),
        )

    def _part(self) -> OutputText:
        part = OutputText(type="output_text", text="".join(self._texts), annotations=[], logprobs=list(self._logprobs))
        if self._findings is not None:
            part.grounding = list(self._findings)
            part._written = "".join(self._written)
        return part

    def _tell_part(
        self, kind: Literal["response.content_part.added", "response.content_part.done"], numbers: Iterator[int]
    ) -> Event:
        return ContentPartEvent(
            type=kind,
            sequence_number=next(numbers),
            item_id=self._id,
            output_index=self._index,
            content_index=0,
            part=self._part(),
        )


class GrowingCall:
    """A call of a function while its arguments grow."""

    def __init__(self, index: int, call_id: str, name: str) -> None:
        self._index = index
        self._id = new_id("fc")
        self._call_id = call_id
        self._name = name
        self._arguments: list[str] = []

    def item(self, status: ItemStatus) -> FunctionCall:
        return FunctionCall(
            id=self._id,
            type="function_call",
            call_id=self._call_id,
            name=self._name,
            arguments="".join(self._arguments),
            status=status,
        )

    def begin(self, numbers: Iterator[int]) -> Event:
        return OutputItemEvent(
            type="response.output_item.added",
            sequence_number=next(numbers),
            output_index=self._index,
            item=self.item("in_progress"),
        )

    def add(self, delta: str, numbers: Iterator[int]) -> Event:
        self._arguments.append(delta)
        return ArgumentsDeltaEvent(
            type="response.function_call_arguments.delta",
            sequence_number=next(numbers),
            item_id=self._id,
            output_index=self._index,
            delta=delta,
        )

    def end(self, status: ItemStatus, numbers: Iterator[int]) -> Iterator[Event]:
        yield ArgumentsDoneEvent(
            type="response.function_call_arguments.done",
            sequence_number=next(numbers),
            item_id=self._id,
            output_index=self._index,
            name=self._name,
            arguments="".join(self._arguments),
        )
        yield OutputItemEvent(
            type="response.output_item.done",
            sequence_number=next(numbers),
            output_index=self._index,
            item=self.item(status),
        )
