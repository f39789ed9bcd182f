"""The text of one answer as OpenAI's deltas: content, findings, and calls where tools were offered."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from qwenvl.api.chat.objects import (
    ChatFinishReason,
    ChoiceDelta,
    FunctionCall,
    FunctionCallDelta,
    ToolCall,
    ToolCallDelta,
)
from qwenvl.api.grounding.findings import FindingsReader, Grounding
from qwenvl.api.grounding.objects import FindingObject
from qwenvl.chat.react import OBSERVATION_STOPS, Start
from qwenvl.chat.react_parser import CallStarted, Event, ReActParser, Said
from qwenvl.engine import Delta


@dataclass(frozen=True, slots=True)
class ToolForm:
    """How an answer in the form of tools is to be read.

    Attributes:
        names: of the tools that were offered.
        start: where in the form the answer begins.
        is_legacy: calls are written as ``function_call``.
        stops: strings that the request itself stops at.
    """

    names: tuple[str, ...]
    start: Start
    is_legacy: bool = False
    stops: tuple[str, ...] = ()


class AnswerReader:
    """One answer while it grows.

    Args:
        form: None where the whole text is content.
        grounding: how its findings are told; None where none are.
        before: text that the answer goes on with.
        shows_before: it is part of the message.
    """

    def __init__(
        self,
        form: ToolForm | None,
        grounding: Grounding | None = None,
        before: str = "",
        *,
        shows_before: bool = False,
    ) -> None:
        assert form is None or grounding is None, "refuse_tools() refuses both"
        self._form = form
        self._findings = FindingsReader(grounding, before, shows_before=shows_before) if grounding is not None else None
        self._parser = ReActParser(form.names, form.start) if form is not None else None

    def read(self, delta: Delta) -> list[ChoiceDelta]:
        """What is new, in the order of the text."""
        if self._findings is not None:
            return self._read_findings(delta, self._findings)
        if self._parser is None:
            return [ChoiceDelta(content=delta.text)] if delta.text else []
        events = self._parser.feed(delta.text)
        if delta.finish_reason is not None:
            events += self._parser.finish(cut=self._is_cut(delta))
        return [self._write(event) for event in events]

    def _read_findings(self, delta: Delta, findings: FindingsReader) -> list[ChoiceDelta]:
        read = findings.read(delta)
        if read.findings:
            return [ChoiceDelta(content=read.text, grounding=read.findings)]
        return [ChoiceDelta(content=read.text)] if read.text else []

    def finish_reason(self, delta: Delta) -> ChatFinishReason:
        """Why the answer ended, once its last delta has been read: with a whole call, whatever came after."""
        assert delta.finish_reason is not None
        if self._form is None or self._parser is None or not (self._parser.is_called and self._parser.is_complete):
            return delta.finish_reason
        return "function_call" if self._form.is_legacy else "tool_calls"

    def stop_reason(self, delta: Delta) -> str | int | None:
        """The stop string or token, where it is not the one that the form itself has."""
        if self._form is not None and delta.stop_reason in OBSERVATION_STOPS:
            return delta.stop_reason if delta.stop_reason in self._form.stops else None
        return delta.stop_reason

    def _is_cut(self, delta: Delta) -> bool:
        """Whether the answer was ended by the request's own limit or stop string, rather than by the model."""
        assert self._form is not None
        own_stop = delta.stop_reason in self._form.stops and delta.stop_reason not in OBSERVATION_STOPS
        return delta.finish_reason == "length" or own_stop

    def _write(self, event: Event) -> ChoiceDelta:
        assert self._form is not None
        if isinstance(event, Said):
            return ChoiceDelta(content=event.text)
        if isinstance(event, CallStarted):
            if self._form.is_legacy:
                return ChoiceDelta(function_call=FunctionCallDelta(name=event.name, arguments=""))
            function = FunctionCallDelta(name=event.name, arguments="")
            call = ToolCallDelta(index=0, id=f"call_{uuid.uuid4().hex}", type="function", function=function)
            return ChoiceDelta(tool_calls=[call])
        if self._form.is_legacy:
            return ChoiceDelta(function_call=FunctionCallDelta(arguments=event.text))
        return ChoiceDelta(tool_calls=[ToolCallDelta(index=0, function=FunctionCallDelta(arguments=event.text))])


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A whole answer: ``content`` is None where there is a call and nothing before it."""

    content: str | None
    tool_calls: list[ToolCall]
    function_call: FunctionCall | None
    findings: list[FindingObject]


def join(deltas: Iterable[ChoiceDelta]) -> ReadMessage:
    """The message that the deltas of one answer make."""
    contents: list[str] = []
    arguments: list[str] = []
    findings: list[FindingObject] = []
    call_id = name = None
    for delta in deltas:
        contents.append(delta.content or "")
        findings += delta.grounding
        for call in delta.tool_calls:
            call_id = call.id or call_id
        for function in (*(call.function for call in delta.tool_calls), delta.function_call):
            if function is not None:
                name = function.name or name
                arguments.append(function.arguments)
    content = "".join(contents)
    if name is None:
        return ReadMessage(content, [], None, findings)
    function_call = FunctionCall(name=name, arguments="".join(arguments))
    if call_id is None:
        return ReadMessage(content or None, [], function_call, findings)
    calls = [ToolCall(id=call_id, type="function", function=function_call)]
    return ReadMessage(content or None, calls, None, findings)
