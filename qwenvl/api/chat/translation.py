"""Engine steps to OpenAI's answers: one object, or the chunks of a stream."""

import hashlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from qwenvl.api.chat.objects import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatFinishReason,
    Choice,
    ChoiceDelta,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionUsage,
    PositionLogprob,
    PromptTokensDetails,
    TopLogprob,
)
from qwenvl.api.chat.reading import AnswerReader, ToolForm, join
from qwenvl.api.grounding.findings import Grounding
from qwenvl.api.prompt_logprobs import LOWEST_LOGPROB, token_text
from qwenvl.chat import Vocabulary
from qwenvl.engine import Delta, ModelInfo, PositionLogprobs, Step, TokenLogprob, Usage
from qwenvl.errors import EngineError

_JSON = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True)
class AnswerHeader:
    """What every part of one answer repeats, and what of the optional parts was asked for.

    Attributes:
        form: None where the whole text is content.
        before: what the answer goes on with, or repeats; it is none of the model's, so nothing in it is a call.
        echoes: each answer begins with it.
        grounding: how findings are told; None where none are.
        shows_logprobs: off where they were asked of the engine for confidences alone.
    """

    model: str
    system_fingerprint: str
    vocabulary: Vocabulary
    n: int
    prompt_token_ids: list[int] | None = None
    include_usage: bool = False
    tokens_as_ids: bool = False
    form: ToolForm | None = None
    before: str = ""
    echoes: bool = False
    grounding: Grounding | None = None
    shows_logprobs: bool = True
    service_tier: Literal["default"] | None = None
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def with_token_ids(self) -> bool:
        return self.prompt_token_ids is not None

    def reader(self) -> AnswerReader:
        """Reads one of the answers."""
        return AnswerReader(self.form, self.grounding, self.before, shows_before=self.echoes)

    def logprobs_of(self, delta: Delta) -> ChoiceLogprobs | None:
        """The log probabilities to show."""
        if not self.shows_logprobs:
            return None
        return write_logprobs(delta.logprobs, self.vocabulary, tokens_as_ids=self.tokens_as_ids)


def fingerprint(info: ModelInfo) -> str:
    """Changes when the model or the version of a part does, as OpenAI's ``system_fingerprint``."""
    parts = repr((info.names[:1], sorted(info.versions.items())))
    return f"fp_{hashlib.sha256(parts.encode()).hexdigest()[:10]}"


async def collect(steps: AsyncIterator[Step], header: AnswerHeader) -> ChatCompletion:
    """The whole answer as one object.

    Raises:
        EngineError: the steps end before the answer does.
    """
    answers = [_Answer(header) for _ in range(header.n)]
    usage = Usage(0, 0)
    async for step in steps:
        usage = step.usage
        for delta in step.deltas:
            answers[delta.index].add(delta)
    completion = ChatCompletion(
        id=header.id,
        object="chat.completion",
        created=header.created,
        model=header.model,
        system_fingerprint=header.system_fingerprint,
        choices=[answer.choice(index) for index, answer in enumerate(answers)],
        usage=write_usage(usage),
    )
    if header.service_tier is not None:
        completion.service_tier = header.service_tier
    if header.prompt_token_ids is not None:
        completion.prompt_token_ids = header.prompt_token_ids
    return completion


async def stream(steps: AsyncIterator[Step], header: AnswerHeader) -> AsyncGenerator[str]:
    """The answer as chunks, each a JSON object: roles, contents, finishes, and the usage where asked for.

    Raises:
        EngineError: the steps end before the answer does.
    """
    usage = Usage(0, 0)
    opened = False
    frames = _ContentFrames(header)
    unfinished = set(range(header.n))
    readers = [header.reader() for _ in range(header.n)]
    async for step in steps:
        if not opened:
            opened = True
            for chunk in _opening(header):
                yield _json(chunk)
        usage = step.usage
        for delta in step.deltas:
            if frames.hold(delta):
                if delta.text:
                    yield frames.write(delta)
                continue
            if delta.finish_reason is not None:
                unfinished.discard(delta.index)
            for choice in _chunk_choices(delta, readers[delta.index], header):
                yield _json(_chunk(header, [choice]))
    if unfinished:
        raise _cut_short()
    if header.include_usage:
        last = _chunk(header, [])
        last.usage = write_usage(usage)
        yield _json(last)


def write_usage(usage: Usage) -> CompletionUsage:
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
    )


def write_logprobs(
    positions: Sequence[PositionLogprobs] | None, vocabulary: Vocabulary, *, tokens_as_ids: bool = False
) -> ChoiceLogprobs | None:
    """Log probabilities, one entry a token; the bytes are exact where the text of half a character cannot be."""
    if positions is None:
        return None
    return ChoiceLogprobs(
        content=[
            PositionLogprob(
                **dict(_token_logprob(position.chosen, vocabulary, tokens_as_ids)),
                top_logprobs=[_token_logprob(token, vocabulary, tokens_as_ids) for token in position.top],
            )
            for position in positions
        ]
    )


@dataclass
class _Answer:
    """One of the ``n`` answers while it grows."""

    header: AnswerHeader
    reader: AnswerReader = field(init=False)
    deltas: list[ChoiceDelta] = field(init=False)
    token_ids: list[int] = field(default_factory=list)
    logprobs: ChoiceLogprobs | None = None
    finish_reason: ChatFinishReason | None = None
    stop_reason: str | int | None = None

    def __post_init__(self) -> None:
        self.reader = self.header.reader()
        self.deltas = _echo(self.header)

    def add(self, delta: Delta) -> None:
        self.deltas += self.reader.read(delta)
        self.token_ids += delta.token_ids
        # As they come: all of them at the end would keep the event loop for seconds.
        written = self.header.logprobs_of(delta)
        if self.logprobs is None:
            self.logprobs = written
        elif written is not None:
            self.logprobs.content += written.content
        if delta.finish_reason is not None:
            self.finish_reason, self.stop_reason = self.reader.finish_reason(delta), self.reader.stop_reason(delta)

    def choice(self, index: int) -> Choice:
        if self.finish_reason is None:
            raise _cut_short()
        choice = Choice(
            index=index,
            message=_message(self.deltas, self.header),
            logprobs=self.logprobs,
            finish_reason=self.finish_reason,
            stop_reason=self.stop_reason,
        )
        if self.header.with_token_ids:
            choice.token_ids = self.token_ids
        return choice


def _message(deltas: Sequence[ChoiceDelta], header: AnswerHeader) -> AssistantMessage:
    read = join(deltas)
    message = AssistantMessage(role="assistant", content=read.content, refusal=None)
    if read.tool_calls:
        message.tool_calls = read.tool_calls
    if read.function_call is not None:
        message.function_call = read.function_call
    if header.grounding is not None:
        message.grounding = read.findings
    return message


class _ContentFrames:
    """Chunks that hold a piece of content and nothing else, as almost all of a stream do.

    They differ in that piece alone. Writing it between two strings takes a fifth of the time of a model for each chunk.
    """

    def __init__(self, header: AnswerHeader) -> None:
        self._header = header
        self._frames: dict[int, tuple[str, str]] = {}
        self._is_plain = header.form is None and header.grounding is None and not header.with_token_ids

    def hold(self, delta: Delta) -> bool:
        """Whether all that is to be told of ``delta`` is its text."""
        return self._is_plain and delta.finish_reason is None and delta.logprobs is None

    def write(self, delta: Delta) -> str:
        if delta.index not in self._frames:
            mark = uuid.uuid4().hex
            content = ChoiceDelta(content=mark)
            choice = ChunkChoice(index=delta.index, delta=content, logprobs=None, finish_reason=None)
            before, _, after = _json(_chunk(self._header, [choice])).partition(f'"{mark}"')
            self._frames[delta.index] = before, after
        before, after = self._frames[delta.index]
        return f"{before}{_JSON.encode(delta.text)}{after}"


def _json(chunk: ChatCompletionChunk) -> str:
    return chunk.model_dump_json(exclude_unset=True)


def _opening(header: AnswerHeader) -> Iterator[ChatCompletionChunk]:
    """A chunk for each answer's role, and one for what it echoes; the prompt's ids go with the first."""
    for index in range(header.n):
        # Where there may be nothing but a call, the content is null until there is some.
        delta = ChoiceDelta(role="assistant", content="" if header.form is None else None)
        chunk = _chunk(header, [ChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=None)])
        if header.prompt_token_ids is not None and index == 0:
            chunk.prompt_token_ids = header.prompt_token_ids
        yield chunk
        for echoed in _echo(header):
            yield _chunk(header, [ChunkChoice(index=index, delta=echoed, logprobs=None, finish_reason=None)])


def _echo(header: AnswerHeader) -> list[ChoiceDelta]:
    if header.grounding is not None and header.grounding.cleans_text:
        # What is cleaned comes out of the reader.
        return []
    return [ChoiceDelta(content=header.before)] if header.echoes and header.before else []


def _chunk_choices(delta: Delta, reader: AnswerReader, header: AnswerHeader) -> Iterator[ChunkChoice]:
    """What is new of one answer, then its end. Tokens whose text is still held back travel with an empty content."""
    written = reader.read(delta)
    logprobs = header.logprobs_of(delta)
    shows_tokens = bool(delta.token_ids) and (header.with_token_ids or logprobs is not None)
    if not written and shows_tokens:
        written = [ChoiceDelta(content="")]
    for i, part in enumerate(written):
        choice = ChunkChoice(index=delta.index, delta=part, logprobs=None, finish_reason=None)
        if i == 0:
            choice.logprobs = logprobs
        if i == 0 and header.with_token_ids:
            choice.token_ids = list(delta.token_ids)
        yield choice
    if delta.finish_reason is not None:
        yield ChunkChoice(
            index=delta.index,
            delta=ChoiceDelta(),
            logprobs=None,
            finish_reason=reader.finish_reason(delta),
            stop_reason=reader.stop_reason(delta),
        )


def _chunk(header: AnswerHeader, choices: list[ChunkChoice]) -> ChatCompletionChunk:
    chunk = ChatCompletionChunk(
        id=header.id,
        object="chat.completion.chunk",
        created=header.created,
        model=header.model,
        system_fingerprint=header.system_fingerprint,
        choices=choices,
    )
    if header.service_tier is not None:
        chunk.service_tier = header.service_tier
    if header.include_usage:
        chunk.usage = None
    return chunk


def _cut_short() -> EngineError:
    return EngineError("the engine stopped in the middle of an answer")


def _token_logprob(token: TokenLogprob, vocabulary: Vocabulary, as_ids: bool) -> TopLogprob:
    text = vocabulary.token_bytes(token.token_id)
    return TopLogprob(
        token=token_text(token.token_id, vocabulary, as_id=as_ids),
        logprob=max(token.logprob, LOWEST_LOGPROB),
        bytes=list(text),
    )
