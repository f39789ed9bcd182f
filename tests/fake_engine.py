"""A small real engine: a language model of arithmetic over a real vocabulary.

The next token's scores are a hash of the tokens so far, so equal prompts have equal answers, images count by what the
model sees of them and their place, and every sampling option does what it says. Tests steer it with :meth:`hold`,
:meth:`release` and :meth:`die`, and wait with :meth:`until`.
"""

import asyncio
import codecs
import math
import random
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qwenvl.chat import VOCABULARY_FILE, PromptFormat, Vocabulary
from qwenvl.engine import (
    Delta,
    FinishReason,
    GenerationRequest,
    ModelInfo,
    PositionLogprobs,
    SamplingDefaults,
    SamplingOptions,
    Step,
    TokenLogprob,
    Usage,
)
from qwenvl.errors import CheckpointError, EngineBusyError, EngineDeadError, UserError
from qwenvl.model_executor.pictures import fit_image

GOLDEN = Path(__file__).parent / "data" / "golden"
TINY = GOLDEN / "tiny-448"

MODULUS = 2_147_483_647
SHORTEST_ANSWER = 6


def model_info(
    *,
    names: tuple[str, ...] = ("tiny", "alias/tiny"),
    max_model_len: int = 2048,
    tokens_per_image: int = 256,
    max_images: int = 4,
    max_logprobs: int = 20,
    defaults: SamplingDefaults | None = None,
    prompt_format: PromptFormat = PromptFormat.CHATML,
) -> ModelInfo:
    vocabulary = Vocabulary.from_file(TINY / VOCABULARY_FILE)
    return ModelInfo(
        names=names,
        vocabulary=vocabulary,
        vocab_size=768,
        max_model_len=max_model_len,
        image_size=448 if tokens_per_image else 0,
        tokens_per_image=tokens_per_image,
        max_images=max_images,
        max_logprobs=max_logprobs,
        defaults=defaults or SamplingDefaults(temperature=0.0, max_tokens=64),
        prompt_format=prompt_format,
        created=1_700_000_000,
        versions={"qwenvl": "0", "fake": "1"},
    )


class FakeEngine:
    """Implements ``qwenvl.engine.Engine``.

    Args:
        info: what is served.
        capacity: most requests in flight; None takes any number.
        start_error: raised by :meth:`start`.
    """

    def __init__(
        self, info: ModelInfo | None = None, *, capacity: int | None = None, start_error: Exception | None = None
    ) -> None:
        self._info = info or model_info()
        self._capacity = capacity
        self._start_error = start_error
        self._alive = False
        self._running: dict[str, asyncio.Event] = {}
        self._may_step = asyncio.Event()
        self._may_step.set()
        self._dead = asyncio.Event()
        self._changed = asyncio.Condition()
        self.requests: list[GenerationRequest] = []
        self.aborted: list[str] = []
        self.steps_taken = 0
        self.stopped = 0

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def is_alive(self) -> bool:
        return self._alive

    @property
    def in_flight(self) -> int:
        return len(self._running)

    async def start(self) -> None:
        if self._start_error is not None:
            raise self._start_error
        self._alive = True
        await self._notify()

    async def stop(self) -> None:
        self._alive = False
        self.stopped += 1
        await self._end_all()

    async def die(self) -> None:
        """Fail as a crashed engine process does."""
        self._alive = False
        self._dead.set()
        await self._end_all()

    async def wait_dead(self) -> None:
        await self._dead.wait()

    async def running(self) -> int:
        return len(self._running)

    def metrics(self) -> bytes:
        return b""

    async def drain(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self.until(lambda: not self._running)
        except TimeoutError:
            return False
        return True

    async def abort(self, request_id: str) -> None:
        if ended := self._running.pop(request_id, None):
            self.aborted.append(request_id)
            ended.set()
            await self._notify()

    def hold(self, after: int | None = None) -> None:
        """Take no more steps, or at most ``after`` more in all, until :meth:`release`."""
        self._steps_left = after or 0
        self._may_step.clear()

    def release(self) -> None:
        self._may_step.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something about the engine to become true."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Step]:
        if not self._alive:
            raise EngineDeadError("the fake engine does not run")
        if "refuse me" in self.info.vocabulary.decode(request.token_ids):
            raise UserError("the fake engine refuses this", param="messages", code="refused")
        if self._capacity is not None and len(self._running) >= self._capacity:
            raise EngineBusyError("the fake engine is full")
        ended = self._running[request.request_id] = asyncio.Event()
        self.requests.append(request)
        await self._notify()
        try:
            for step in _answer(request, self._info):
                await self._wait_for_turn(ended)
                if not self._alive:
                    raise EngineDeadError("the fake engine died")
                if request.request_id not in self._running:
                    return
                self.steps_taken += 1
                yield step
                await self._notify()
            self._running.pop(request.request_id, None)
        finally:
            if self._running.pop(request.request_id, None):
                self.aborted.append(request.request_id)
            await self._notify()

    async def _wait_for_turn(self, ended: asyncio.Event) -> None:
        await asyncio.sleep(0)
        if self._may_step.is_set():
            return
        if self._steps_left > 0:
            self._steps_left -= 1
            return
        waits = [asyncio.create_task(event.wait()) for event in (self._may_step, ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _end_all(self) -> None:
        for ended in self._running.values():
            ended.set()
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def broken_checkpoint_engine() -> FakeEngine:
    return FakeEngine(start_error=CheckpointError("config.json: hidden_size is missing"))


@dataclass
class _Sequence:
    """One of the ``n`` answers while it grows."""

    index: int
    state: int
    sampling: SamplingOptions
    info: ModelInfo
    generator: random.Random
    answer: list[int] = field(default_factory=list)
    finished: bool = False

    def __post_init__(self) -> None:
        self._text = _HeldBackText(self.sampling.stop)
        self._length = SHORTEST_ANSWER + self.state % 7

    def step(self) -> Delta:
        logprobs = self._logprobs()
        token_id = self._choose(logprobs)
        self.answer.append(token_id)
        self.state = (self.state * 48_271 + token_id + 1) % MODULUS

        vocabulary = self.info.vocabulary
        stopped = token_id in vocabulary.stop_ids and not self.sampling.ignore_eos
        shown = b"" if token_id in vocabulary.control_ids else vocabulary.token_bytes(token_id)
        text, stop_string = self._text.add(shown)
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
            logprobs=self._report(token_id, logprobs),
            finish_reason=reason,
            stop_reason=stop_string if stop_string is not None else (token_id if stopped else None),
        )

    def _logprobs(self) -> list[float]:
        vocabulary = self.info.vocabulary
        scores = [
            -math.inf if token_id in vocabulary.control_ids else (self.state // (token_id + 7)) % 997 / 50
            for token_id in range(vocabulary.size)
        ]
        if len(self.answer) >= self._length and not self.sampling.ignore_eos:
            scores[vocabulary.im_end] = 40.0
        total = math.log(sum(map(math.exp, scores)))
        return [score - total for score in scores]

    def _choose(self, logprobs: list[float]) -> int:
        ranked = sorted(range(len(logprobs)), key=lambda token_id: -logprobs[token_id])
        if self.sampling.temperature == 0:
            return ranked[0]
        ranked = ranked[: self.sampling.top_k or None]
        weights = [math.exp(logprobs[token_id] / self.sampling.temperature) for token_id in ranked]
        kept, total = 0, 0.0
        while kept < len(ranked) and total < self.sampling.top_p * sum(weights):
            total += weights[kept]
            kept += 1
        return self.generator.choices(ranked[:kept], weights[:kept])[0]

    def _report(self, chosen: int, logprobs: list[float]) -> tuple[PositionLogprobs, ...] | None:
        if self.sampling.logprobs is None:
            return None
        ranked = sorted(range(len(logprobs)), key=lambda token_id: -logprobs[token_id])
        top = tuple(TokenLogprob(token_id, logprobs[token_id]) for token_id in ranked[: self.sampling.logprobs])
        return (PositionLogprobs(TokenLogprob(chosen, logprobs[chosen]), top),)


class _HeldBackText:
    """Bytes to text that ends in whole characters and outside of any possible stop string."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = stop
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending = ""

    def add(self, content: bytes) -> tuple[str, str | None]:
        """The text to show, and the stop string that was met."""
        self._pending += self._decoder.decode(content)
        found = [(at, stop) for stop in self._stop if (at := self._pending.find(stop)) >= 0]
        if found:
            at, stop = min(found)
            return self._pending[:at], stop
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


def _answer(request: GenerationRequest, info: ModelInfo) -> Iterator[Step]:
    sampling = request.sampling
    state = 1
    pictures = [zlib.crc32(fit_image(image, info.image_size).tobytes()) for image in request.images]
    for number in (*request.token_ids, *pictures):
        state = (state * 31 + number + 1) % MODULUS
    sequences = []
    for index in range(sampling.n):
        generator = random.Random(f"{sampling.seed} {index}")  # None is a seed like any other: answers repeat
        start = state if sampling.temperature == 0 else (state + index) % MODULUS
        sequences.append(_Sequence(index, start, sampling, info, generator))
    prompt_tokens = len(request.token_ids) + len(request.images) * info.tokens_per_image
    while active := [sequence for sequence in sequences if not sequence.finished]:
        deltas = [sequence.step() for sequence in active]
        completion_tokens = sum(len(sequence.answer) for sequence in sequences)
        yield Step(deltas, Usage(prompt_tokens, completion_tokens, cached_tokens=prompt_tokens // 16 * 16))
