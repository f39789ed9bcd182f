"""Requests to an engine and what came of them, short to write."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwenvl.chat import VOCABULARY_FILE, Message, Vocabulary, render_chatml
from qwenvl.engine import Delta, GenerationRequest, PositionLogprobs, SamplingOptions, Step
from tests.parity.golden import CHECKPOINT

VOCABULARY = Vocabulary.from_file(Path(CHECKPOINT) / VOCABULARY_FILE)

_numbers = itertools.count()


def request(text: str = "Hello there", **options: Any) -> GenerationRequest:
    """A request of one user turn. Options are those of sampling; greedy and 40 tokens long where nothing is said."""
    prompt = render_chatml([Message.of("user", text)], VOCABULARY)
    own = {name: options.pop(name) for name in ("priority", "cache_salt", "trace_headers") if name in options}
    return GenerationRequest(f"asked-{next(_numbers)}", prompt.token_ids, (), sampling(**options), **own)


def sampling(**options: Any) -> SamplingOptions:
    return SamplingOptions(**{"temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_tokens": 40} | options)


@dataclass
class Answer:
    """One of the answers to a request, put together from its deltas."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[PositionLogprobs] = field(default_factory=list)
    last: Delta | None = None

    @property
    def ending(self) -> tuple[str | None, str | int | None]:
        assert self.last is not None
        return self.last.finish_reason, self.last.stop_reason


def answers(steps: list[Step]) -> list[Answer]:
    """The answers by their index."""
    found: dict[int, Answer] = {}
    for delta in (delta for step in steps for delta in step.deltas):
        answer = found.setdefault(delta.index, Answer())
        assert answer.last is None or answer.last.finish_reason is None
        answer.text += delta.text
        answer.token_ids += delta.token_ids
        answer.logprobs += delta.logprobs or ()
        answer.last = delta
    assert sorted(found) == list(range(len(found)))
    return [found[index] for index in sorted(found)]
