"""Engine steps to OpenAI's answers: one object, or the chunks of a stream."""

import hashlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from qwenvl.api.chat.objects import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChoiceDelta,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionUsage,
    PositionLogprob,
    PromptTokensDetails,
    TopLogprob,
)
from qwenvl.chat import Vocabulary
from qwenvl.engine import Delta, FinishReason, ModelInfo, PositionLogprobs, Step, TokenLogprob, Usage
from qwenvl.errors import EngineError

LOWEST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot write."""


@dataclass(frozen=True)
class AnswerHeader:
    """What every part of one answer repeats, and what of the optional parts was asked for."""

    model: str
    system_fingerprint: str
    vocabulary: Vocabulary
    n: int
    prompt_token_ids: list[int] | None = None
    include_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def with_token_ids(self) -> bool:
        return self.prompt_token_ids is not None


def fingerprint(info: ModelInfo) -> str:
    """Changes when the model or the version of a part does, as OpenAI's ``system_fingerprint``."""
    parts = repr((info.names[:1], sorted(info.versions.items())))
    return f"fp_{hashlib.sha256(parts.encode()).hexdigest()[:10]}"


async def collect(steps: AsyncIterator[Step], header: AnswerHeader) -> ChatCompletion:
    """The whole answer as one object.

    Raises:
        EngineError: the steps end before the answer does.
    """
    answers = [_Answer() for _ in range(header.n)]
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
        choices=[answer.choice(index, header) for index, answer in enumerate(answers)],
        usage=write_usage(usage),
    )
    if header.prompt_token_ids is not None:
        completion.prompt_token_ids = header.prompt_token_ids
    return completion


async def stream(steps: AsyncIterator[Step], header: AnswerHeader) -> AsyncGenerator[ChatCompletionChunk]:
    """The answer as chunks: roles, contents, finishes, and the usage where asked for.

    Raises:
        EngineError: the steps end before the answer does.
    """
    usage = Usage(0, 0)
    opened = False
    unfinished = set(range(header.n))
    async for step in steps:
        if not opened:
            opened = True
            for chunk in _opening(header):
                yield chunk
        usage = step.usage
        for delta in step.deltas:
            if delta.finish_reason is not None:
                unfinished.discard(delta.index)
            for choice in _chunk_choices(delta, header):
                yield _chunk(header, [choice])
    if unfinished:
        raise _cut_short()
    if header.include_usage:
        last = _chunk(header, [])
        last.usage = write_usage(usage)
        yield last


def write_usage(usage: Usage) -> CompletionUsage:
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
    )


def write_logprobs(positions: Sequence[PositionLogprobs] | None, vocabulary: Vocabulary) -> ChoiceLogprobs | None:
    """Log probabilities, one entry a token; the bytes are exact where the text of half a character cannot be."""
    if positions is None:
        return None
    return ChoiceLogprobs(
        content=[
            PositionLogprob(
                **dict(_token_logprob(position.chosen, vocabulary)),
                top_logprobs=[_token_logprob(token, vocabulary) for token in position.top],
            )
            for position in positions
        ]
    )


@dataclass
class _Answer:
    """One of the ``n`` answers while it grows."""

    texts: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[PositionLogprobs] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None

    def add(self, delta: Delta) -> None:
        self.texts.append(delta.text)
        self.token_ids += delta.token_ids
        if delta.logprobs is not None:
            self.logprobs = self.logprobs or []
            self.logprobs += delta.logprobs
        if delta.finish_reason is not None:
            self.finish_reason, self.stop_reason = delta.finish_reason, delta.stop_reason

    def choice(self, index: int, header: AnswerHeader) -> Choice:
        if self.finish_reason is None:
            raise _cut_short()
        choice = Choice(
            index=index,
            message=AssistantMessage(role="assistant", content="".join(self.texts), refusal=None),
            logprobs=write_logprobs(self.logprobs, header.vocabulary),
            finish_reason=self.finish_reason,
            stop_reason=self.stop_reason,
        )
        if header.with_token_ids:
            choice.token_ids = self.token_ids
        return choice


def _opening(header: AnswerHeader) -> Iterator[ChatCompletionChunk]:
    """A chunk for each answer's role; the prompt's ids go with the first."""
    for index in range(header.n):
        delta = ChoiceDelta(role="assistant", content="")
        chunk = _chunk(header, [ChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=None)])
        if header.prompt_token_ids is not None and index == 0:
            chunk.prompt_token_ids = header.prompt_token_ids
        yield chunk


def _chunk_choices(delta: Delta, header: AnswerHeader) -> Iterator[ChunkChoice]:
    """What is new of one answer, then its end. Tokens whose text is still held back travel with an empty content."""
    shows_tokens = bool(delta.token_ids) and (header.with_token_ids or delta.logprobs is not None)
    if delta.text or shows_tokens:
        choice = ChunkChoice(
            index=delta.index,
            delta=ChoiceDelta(content=delta.text),
            logprobs=write_logprobs(delta.logprobs, header.vocabulary),
            finish_reason=None,
        )
        if header.with_token_ids:
            choice.token_ids = list(delta.token_ids)
        yield choice
    if delta.finish_reason is not None:
        yield ChunkChoice(
            index=delta.index,
            delta=ChoiceDelta(),
            logprobs=None,
            finish_reason=delta.finish_reason,
            stop_reason=delta.stop_reason,
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
    if header.include_usage:
        chunk.usage = None
    return chunk


def _cut_short() -> EngineError:
    return EngineError("the engine stopped in the middle of an answer")


def _token_logprob(token: TokenLogprob, vocabulary: Vocabulary) -> TopLogprob:
    text = vocabulary.token_bytes(token.token_id)
    return TopLogprob(
        token=text.decode("utf-8", errors="replace"),
        logprob=max(token.logprob, LOWEST_LOGPROB),
        bytes=list(text),
    )
