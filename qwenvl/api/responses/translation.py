"""Engine steps to the events of a response."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass

from qwenvl.api.chat.objects import PositionLogprob
from qwenvl.api.chat.reading import ToolForm
from qwenvl.api.chat.translation import write_logprobs
from qwenvl.api.grounding.findings import FindingsReader, Grounding, Read
from qwenvl.api.responses.events import Event
from qwenvl.api.responses.items import new_id
from qwenvl.api.responses.objects import InputTokensDetails, OutputTokensDetails, Response, ResponseUsage
from qwenvl.api.responses.writer import ResponseWriter
from qwenvl.chat import Vocabulary
from qwenvl.chat.react_parser import ArgumentsGrew, CallStarted, ReActParser
from qwenvl.engine import Delta, FinishReason, Step, Usage
from qwenvl.errors import EngineError


@dataclass(frozen=True, slots=True)
class Reading:
    """How the engine's answer is read.

    Attributes:
        vocabulary: spells the tokens of log probabilities.
        form: where the answer may hold calls; None where the whole text is the message.
        grounding: how its findings are told; None where none are.
        shows_logprobs: whether log probabilities are told.
    """

    vocabulary: Vocabulary
    form: ToolForm | None = None
    grounding: Grounding | None = None
    shows_logprobs: bool = True


async def respond(
    steps: AsyncIterator[Step], response: Response, writer: ResponseWriter, reading: Reading
) -> AsyncGenerator[Event]:
    """All events of a response, none before the engine's first step.

    Args:
        steps: of one answer.
        response: as it is before it has an output.
        writer: holds the response as it grows; it is whole after the last event.
        reading: of the answer.

    Raises:
        EngineError: the steps end before the answer does.
    """
    answer = _Answer(writer, reading)
    usage = Usage(0, 0)
    async for step in steps:
        if not writer.is_open:
            for event in writer.open(response):
                yield event
        usage = step.usage
        for delta in step.deltas:
            for event in answer.add(delta):
                yield event
    if answer.finish_reason is None:
        raise EngineError("the engine stopped in the middle of an answer")
    for event in writer.close(answer.finish_reason, write_usage(usage)):
        yield event


def write_usage(usage: Usage) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_tokens, cache_write_tokens=0),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=usage.total_tokens,
    )


class _Answer:
    """The engine's answer while it grows: a message, and a call where the text has the form of one."""

    def __init__(self, writer: ResponseWriter, reading: Reading) -> None:
        form, grounding = reading.form, reading.grounding
        self._writer = writer
        self._reading = reading
        self._parser = ReActParser(form.names, form.start) if form is not None else None
        self._findings = FindingsReader(grounding) if grounding is not None else None
        # Of tokens whose text is held back, or is the form's and never shown.
        self._logprobs: list[PositionLogprob] = []
        self.finish_reason: FinishReason | None = None

    def add(self, delta: Delta) -> Iterator[Event]:
        if self._reading.shows_logprobs:
            written = write_logprobs(delta.logprobs, self._reading.vocabulary)
            self._logprobs += written.content if written is not None else []
        if self._findings is not None:
            read = self._findings.read(delta)
            yield from self._say(read.text, read)
        elif self._parser is None:
            yield from self._say(delta.text)
        else:
            yield from self._parse(delta, self._parser)
        if delta.finish_reason is not None:
            if self._writer.is_empty:
                yield from self._say("")
            self.finish_reason = self._finish_reason(delta.finish_reason)

    def _parse(self, delta: Delta, parser: ReActParser) -> Iterator[Event]:
        read = parser.feed(delta.text)
        if delta.finish_reason is not None:
            read += parser.finish(cut=delta.finish_reason == "length")
        for event in read:
            if isinstance(event, CallStarted):
                self._logprobs = []
                yield from self._writer.call(new_id("call"), event.name)
            elif isinstance(event, ArgumentsGrew):
                yield from self._writer.arguments(event.text)
            else:
                yield from self._say(event.text)

    def _say(self, text: str, read: Read | None = None) -> Iterator[Event]:
        logprobs, self._logprobs = self._logprobs, []
        yield from self._writer.text(text, logprobs, read)

    def _finish_reason(self, reason: FinishReason) -> FinishReason:
        """A whole call is the end, whatever the model would have said after it."""
        return "stop" if self._parser is not None and self._parser.is_called and self._parser.is_complete else reason
