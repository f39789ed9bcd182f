"""Engine steps to OpenAI's completions: one object, or the chunks of a stream."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from anyio import to_thread

from qwenvl.api.chat.translation import write_usage
from qwenvl.api.completions.logprobs import LogprobsWriter, joined
from qwenvl.api.completions.objects import Completion, CompletionChoice, CompletionLogprobs
from qwenvl.api.prompt_logprobs import write_prompt_logprobs
from qwenvl.chat import Vocabulary
from qwenvl.engine import Delta, PositionLogprobs, Step, Usage
from qwenvl.errors import EngineError


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every choice of one answer repeats, and what of the optional parts was asked for.

    Attributes:
        n: choices for each prompt.
        prompts: the ids of each, every image at its full length.
        echoes: text of each prompt to begin its choices with; None begins with the answer.
        logprobs: alternatives to report for each token; None reports nothing.
        prompt_logprobs: the same for ``prompt_logprobs``, vLLM's own field.
        only_prompt: what is generated is not for the client, who asked for none of it.
    """

    id: str
    model: str
    system_fingerprint: str
    vocabulary: Vocabulary
    n: int
    prompts: tuple[list[int], ...]
    echoes: tuple[str | None, ...]
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    only_prompt: bool = False
    with_token_ids: bool = False
    tokens_as_ids: bool = False
    skip_control: bool = True
    include_usage: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def has_opening(self) -> bool:
        """Whether choices begin with something about their prompt."""
        return self.with_token_ids or self.prompt_logprobs is not None or self.echoes[0] is not None


async def collect(steps: AsyncIterator[tuple[int, Step]], wanted: Wanted) -> Completion:
    """The whole answer as one object.

    Raises:
        EngineError: the steps end before the answer does.
    """
    usages = _Usages()
    grown: dict[int, list[CompletionChoice]] = {}
    async with aclosing(_choices(steps, wanted, usages)) as choices:
        async for choice in choices:
            grown.setdefault(choice.index, []).append(choice)
    completion = _completion(wanted, [_join(grown[index]) for index in sorted(grown)])
    completion.usage = write_usage(usages.sum())
    return completion


async def stream(steps: AsyncIterator[tuple[int, Step]], wanted: Wanted) -> AsyncGenerator[Completion]:
    """The answer as chunks of one choice each, and the usage where asked for.

    Raises:
        EngineError: the steps end before the answer does.
    """
    usages = _Usages()
    async with aclosing(_choices(steps, wanted, usages)) as choices:
        async for choice in choices:
            chunk = _completion(wanted, [choice])
            if wanted.include_usage:
                chunk.usage = None
            yield chunk
    if wanted.include_usage:
        last = _completion(wanted, [])
        last.usage = write_usage(usages.sum())
        yield last


class _Usages:
    """The latest usage of each prompt."""

    def __init__(self) -> None:
        self._latest: dict[int, Usage] = {}

    def note(self, prompt: int, usage: Usage) -> None:
        self._latest[prompt] = usage

    def sum(self) -> Usage:
        latest = self._latest.values()
        return Usage(
            sum(usage.prompt_tokens for usage in latest),
            sum(usage.completion_tokens for usage in latest),
            sum(usage.cached_tokens for usage in latest),
        )


async def _choices(
    steps: AsyncIterator[tuple[int, Step]], wanted: Wanted, usages: _Usages
) -> AsyncGenerator[CompletionChoice]:
    """What each choice gains, as it comes."""
    writers = [
        [_ChoiceWriter(prompt * wanted.n + i, prompt, wanted) for i in range(wanted.n)]
        for prompt in range(len(wanted.prompts))
    ]
    unfinished = len(writers) * wanted.n
    opened: set[int] = set()
    async for prompt, step in steps:
        usages.note(prompt, replace(step.usage, completion_tokens=0) if wanted.only_prompt else step.usage)
        if prompt not in opened and wanted.has_opening:
            for writer in writers[prompt]:
                # A thread, since a prompt may have thousands of tokens and twenty alternatives to each.
                yield await to_thread.run_sync(writer.open, step.prompt_logprobs or ())
        opened.add(prompt)
        for delta in step.deltas:
            unfinished -= delta.finish_reason is not None
            if (choice := writers[prompt][delta.index].write(delta)) is not None:
                yield choice
    if unfinished:
        raise EngineError("the engine stopped in the middle of an answer")


class _ChoiceWriter:
    """One choice while it grows."""

    def __init__(self, index: int, prompt: int, wanted: Wanted) -> None:
        self._index = index
        self._wanted = wanted
        self._prompt_token_ids = wanted.prompts[prompt]
        self._echo = wanted.echoes[prompt]
        self._logprobs = LogprobsWriter(
            wanted.vocabulary,
            wanted.logprobs or 0,
            tokens_as_ids=wanted.tokens_as_ids,
            skip_control=wanted.skip_control,
        )

    def open(self, positions: Sequence[PositionLogprobs | None]) -> CompletionChoice:
        """What is said of the prompt; ``positions`` are its log probabilities, where asked for."""
        wanted = self._wanted
        logprobs: CompletionLogprobs | None = None
        if self._echo is not None and wanted.logprobs is not None:
            # A prompt of one token has no log probability to report, and an engine may report nothing.
            logprobs = self._logprobs.write_prompt(zip_longest(self._prompt_token_ids, positions))
        opening = CompletionChoice(
            index=self._index, text=self._echo or "", logprobs=logprobs, finish_reason=None, stop_reason=None
        )
        if wanted.with_token_ids:
            opening.prompt_token_ids = self._prompt_token_ids
            opening.token_ids = []
        if wanted.prompt_logprobs is not None:
            opening.prompt_logprobs = write_prompt_logprobs(positions, wanted.prompt_logprobs, wanted.vocabulary)
        return opening

    def write(self, delta: Delta) -> CompletionChoice | None:
        """What the answer gained; None where that is nothing to show."""
        wanted = self._wanted
        if wanted.only_prompt:
            if delta.finish_reason is None:
                return None
            delta = Delta(delta.index, "", (), finish_reason="length")
        reports = bool(delta.token_ids) and (wanted.with_token_ids or delta.logprobs is not None)
        if not (delta.text or reports or delta.finish_reason):
            return None
        choice = CompletionChoice(
            index=self._index,
            text=delta.text,
            logprobs=None if delta.logprobs is None else self._logprobs.write(delta.logprobs),
            finish_reason=delta.finish_reason,
            stop_reason=delta.stop_reason,
        )
        if wanted.with_token_ids:
            choice.token_ids = list(delta.token_ids)
        return choice


def _join(pieces: list[CompletionChoice]) -> CompletionChoice:
    """The pieces of one choice, as one: what is said of the prompt is in the first, the end in the last."""
    whole, last = pieces[0], pieces[-1]
    whole.text = "".join(piece.text for piece in pieces)
    reports = [piece.logprobs for piece in pieces if piece.logprobs is not None]
    whole.logprobs = joined(reports) if reports else None
    whole.finish_reason, whole.stop_reason = last.finish_reason, last.stop_reason
    if "token_ids" in whole.model_fields_set:
        whole.token_ids = [token_id for piece in pieces for token_id in piece.token_ids]
    return whole


def _completion(wanted: Wanted, choices: list[CompletionChoice]) -> Completion:
    return Completion(
        id=wanted.id,
        object="text_completion",
        created=wanted.created,
        model=wanted.model,
        system_fingerprint=wanted.system_fingerprint,
        choices=choices,
    )
