"""The arithmetic behind the fake engine: scores out of a hash, and every sampling option as its docstring says."""

import codecs
import itertools
import math
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from qwenvl.engine import (
    Delta,
    FinishReason,
    GenerationRequest,
    ModelInfo,
    PositionLogprobs,
    SamplingOptions,
    Step,
    TokenLogprob,
    Usage,
)
from qwenvl.model_executor.pictures import fit_image
from tests.fake_structure import structured_answer

MODULUS = 2_147_483_647
SHORTEST_ANSWER = 6


def answer(request: GenerationRequest, info: ModelInfo, *, salt: int = 0) -> Iterator[Step]:
    """The steps of one request; another ``salt`` is another model.

    Raises:
        UserError: a structure that no answer is known for; at once, not with the first step.
    """
    sampling = request.sampling
    state = 1
    pictures = [zlib.crc32(fit_image(image, info.image_size).tobytes()) for image in request.images]
    for number in (*request.token_ids, *pictures, *([salt] if salt else [])):
        state = (state * 31 + number + 1) % MODULUS
    sequences = []
    for index in range(sampling.n):
        generator = random.Random(f"{sampling.seed} {index}")  # None is a seed like any other: answers repeat
        start = state if sampling.temperature == 0 else (state + index) % MODULUS
        sequences.append(_Sequence(index, start, sampling, info, generator, _script(sampling, info, start)))
    return _steps(request, info, sequences)


def _script(sampling: SamplingOptions, info: ModelInfo, number: int) -> tuple[int, ...]:
    if sampling.structure is None:
        return ()
    text = structured_answer(sampling.structure, number)
    return (*info.vocabulary.encode_ordinary(text), info.vocabulary.im_end)


def _steps(request: GenerationRequest, info: ModelInfo, sequences: list["_Sequence"]) -> Iterator[Step]:
    prompt_tokens = len(request.token_ids) + len(request.images) * info.tokens_per_image
    prompt_logprobs = _prompt_logprobs(request, info)
    while active := [sequence for sequence in sequences if not sequence.finished]:
        deltas = [sequence.step() for sequence in active]
        completion_tokens = sum(len(sequence.answer) for sequence in sequences)
        usage = Usage(prompt_tokens, completion_tokens, cached_tokens=prompt_tokens // 16 * 16)
        yield Step(deltas, usage, prompt_logprobs)
        prompt_logprobs = None


def _prompt_logprobs(request: GenerationRequest, info: ModelInfo) -> tuple[PositionLogprobs | None, ...] | None:
    count = request.sampling.prompt_logprobs
    if count is None:
        return None
    vocabulary = info.vocabulary
    token_ids: list[int] = []
    for token_id in request.token_ids:
        token_ids.append(token_id)
        if token_id == vocabulary.image_start:
            token_ids += [vocabulary.image_pad] * info.tokens_per_image
    entries: list[PositionLogprobs | None] = [None]
    state = 1
    for previous, token_id in itertools.pairwise(token_ids):
        state = (state * 31 + previous + 1) % MODULUS
        entries.append(_report(token_id, _normalized(_scores(state, info)), count))
    return tuple(entries)


def _scores(state: int, info: ModelInfo) -> list[float]:
    return [(state // (token_id + 7)) % 997 / 50 for token_id in range(info.vocabulary.size)]


def _normalized(scores: list[float]) -> list[float]:
    total = math.log(sum(map(math.exp, scores)))
    return [score - total for score in scores]


def _ranked(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda token_id: -scores[token_id])


def _report(chosen: int, logprobs: list[float], count: int) -> PositionLogprobs:
    top = tuple(TokenLogprob(token_id, logprobs[token_id]) for token_id in _ranked(logprobs)[:count])
    return PositionLogprobs(TokenLogprob(chosen, logprobs[chosen]), top)


@dataclass
class _Sequence:
    """One of the ``n`` answers while it grows; a structured one follows its script."""

    index: int
    state: int
    sampling: SamplingOptions
    info: ModelInfo
    generator: random.Random
    script: tuple[int, ...] = ()
    answer: list[int] = field(default_factory=list)
    finished: bool = False

    def __post_init__(self) -> None:
        self._text = _HeldBackText(self.sampling.stop, include_stop=self.sampling.include_stop)
        self._bytes = b""
        self._length = SHORTEST_ANSWER + self.state % 7

    def step(self) -> Delta:
        logprobs = self._logprobs()
        token_id = self.script[len(self.answer)] if self.script else self._choose(self._allowed(logprobs))
        self.answer.append(token_id)
        self.state = (self.state * 48_271 + token_id + 1) % MODULUS

        stopped = self._stops(token_id)
        shown = self._shown(token_id, stopped=stopped)
        self._bytes += shown
        text, stop_string = self._text.add(shown, may_stop=len(self.answer) > self.sampling.min_tokens)
        reason: FinishReason | None = None
        if stop_string is not None or stopped:
            reason = "stop"
        elif len(self.answer) == self.sampling.max_tokens:
            reason = "length"
        if reason is not None and stop_string is None:
            text += self._text.flush()
        self.finished = reason is not None
        return Delta(
            index=self.index,
            text=text,
            token_ids=(token_id,),
            logprobs=None if (count := self.sampling.logprobs) is None else (_report(token_id, logprobs, count),),
            finish_reason=reason,
            stop_reason=stop_string if stop_string is not None else (token_id if stopped else None),
        )

    def _stops(self, token_id: int) -> bool:
        ends_turn = token_id in self.info.vocabulary.stop_ids and not self.sampling.ignore_eos
        return ends_turn or token_id in self.sampling.stop_token_ids or len(self.answer) == len(self.script)

    def _shown(self, token_id: int, *, stopped: bool) -> bytes:
        hidden = token_id in self.info.vocabulary.control_ids and self.sampling.skip_control
        if hidden or (stopped and not self.sampling.include_stop):
            return b""
        return self.info.vocabulary.token_bytes(token_id)

    def _logprobs(self) -> list[float]:
        """What the model says, whatever the request allows."""
        vocabulary = self.info.vocabulary
        scores = _scores(self.state, self.info)
        for token_id in vocabulary.control_ids:
            scores[token_id] = -math.inf
        if len(self.answer) >= self._length and not self.sampling.ignore_eos:
            scores[vocabulary.im_end] = 40.0
        return _normalized(scores)

    def _allowed(self, logprobs: list[float]) -> list[float]:
        sampling, scores = self.sampling, list(logprobs)
        for token_id, bias in sampling.logit_bias.items():
            if token_id < len(scores):
                # A control token has no score of its own here, and a bias may still call for it.
                scores[token_id] = max(scores[token_id], min(logprobs[:256])) + bias
        forbidden: set[int] = set()
        if sampling.allowed_token_ids:
            forbidden |= set(range(len(scores))) - set(sampling.allowed_token_ids)
        if len(self.answer) < sampling.min_tokens:
            forbidden |= {*sampling.stop_token_ids, *self.info.vocabulary.stop_ids}
        if sampling.bad_words:
            forbidden |= {token_id for token_id in range(len(scores)) if self._completes_bad_word(token_id)}
        for token_id in forbidden & set(range(len(scores))):
            scores[token_id] = -math.inf
        return scores

    def _completes_bad_word(self, token_id: int) -> bool:
        added = self.info.vocabulary.token_bytes(token_id)
        for word in map(str.encode, self.sampling.bad_words):
            start = max(0, len(self._bytes) - len(word) + 1)
            if word in self._bytes[start:] + added:
                return True
        return False

    def _choose(self, scores: list[float]) -> int:
        sampling, ranked = self.sampling, _ranked(scores)
        if sampling.temperature == 0:
            return ranked[0]
        ranked = ranked[: sampling.top_k or None]
        weights = [math.exp(scores[token_id] / sampling.temperature) for token_id in ranked]
        weights = [weight for weight in weights if weight >= sampling.min_p * weights[0]]
        kept, total = 0, 0.0
        while kept < len(weights) and total < sampling.top_p * sum(weights):
            total += weights[kept]
            kept += 1
        return self.generator.choices(ranked[:kept], weights[:kept])[0]


class _HeldBackText:
    """Bytes to text that ends in whole characters and outside of any possible stop string."""

    def __init__(self, stop: tuple[str, ...], *, include_stop: bool) -> None:
        self._stop = stop
        self._include_stop = include_stop
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending = ""

    def add(self, content: bytes, *, may_stop: bool = True) -> tuple[str, str | None]:
        """The text to show, and the stop string that was met."""
        self._pending += self._decoder.decode(content)
        if not may_stop:
            ready, self._pending = self._pending, ""
            return ready, None
        found = [(at, stop) for stop in self._stop if (at := self._pending.find(stop)) >= 0]
        if found:
            at, stop = min(found)
            return self._pending[: at + len(stop) * self._include_stop], stop
        held = max((self._overlap(stop) for stop in self._stop), default=0)
        ready = self._pending[: len(self._pending) - held]
        self._pending = self._pending[len(ready) :]
        return ready, None

    def flush(self) -> str:
        rest, self._pending = self._pending + self._decoder.decode(b"", final=True), ""
        return rest

    def _overlap(self, stop: str) -> int:
        """How much of the pending text's end could begin ``stop``."""
        return max(n for n in range(len(stop)) if self._pending.endswith(stop[:n]))
