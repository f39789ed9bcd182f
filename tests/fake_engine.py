"""A small real engine: a language model of arithmetic over a real vocabulary.

The next token's scores are a hash of the tokens so far, so equal prompts have equal answers, images count by what the
model sees of them and their place, and every sampling option does what it says. Tests steer it with :meth:`hold`,
:meth:`release` and :meth:`die`, and wait with :meth:`until`.
"""

import asyncio
import json
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

from qwenvl.chat import VOCABULARY_FILE, PromptFormat, Vocabulary
from qwenvl.engine import (
    Adapter,
    AdapterSource,
    GenerationRequest,
    ModelInfo,
    SamplingDefaults,
    SamplingOptions,
    Step,
)
from qwenvl.engine.adapter_copy import CONFIG_FILE, WEIGHTS_FILE, read_file
from qwenvl.engine.adapters import AdapterTable, Served
from qwenvl.errors import CheckpointError, EngineBusyError, EngineDeadError, UserError
from tests.fake_model import answer

GOLDEN = Path(__file__).parent / "data" / "golden"
TINY = GOLDEN / "tiny-448"


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
        max_adapters: most adapters at a time.
    """

    def __init__(
        self,
        info: ModelInfo | None = None,
        *,
        capacity: int | None = None,
        start_error: Exception | None = None,
        max_adapters: int = 4,
    ) -> None:
        self._info = info or model_info()
        self._capacity = capacity
        self._start_error = start_error
        self._table = AdapterTable(max_adapters)
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
        self.load_error: Exception | None = None

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        return self._table.adapters

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

    async def load_adapter(
        self, source: AdapterSource, *, inside: Path | None = None, replace: bool = False
    ) -> Adapter:
        """Any folder with PEFT's two files; what is in the weights changes the answers."""
        with self._table.loading(source.name, self.info.names, replace=replace):
            if self.load_error is not None:
                raise self.load_error
            config = json.loads(read_file(source.folder / CONFIG_FILE, largest=1 << 20, inside=inside))
            weights = read_file(source.folder / WEIGHTS_FILE, largest=1 << 20, inside=inside)
            if "r" not in config:
                raise CheckpointError(f"{source.folder / CONFIG_FILE}: r is missing")
            adapter = Adapter(source.name, config["r"], 1_700_000_001)
            if (before := self._table.put(Served(adapter, zlib.crc32(weights), source.folder))) is not None:
                self._table.left(before)
        return adapter

    async def unload_adapter(self, name: str) -> None:
        self._table.left(self._table.remove(name))

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
        _check_token_ids(request.sampling, self.info)
        if self._capacity is not None and len(self._running) >= self._capacity:
            raise EngineBusyError("the fake engine is full")
        with self._table.used(request.adapter) as adapter:
            steps = answer(request, self.info, salt=adapter.number if adapter else 0)
        ended = self._running[request.request_id] = asyncio.Event()
        self.requests.append(request)
        await self._notify()
        try:
            for step in steps:
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


def _check_token_ids(sampling: SamplingOptions, info: ModelInfo) -> None:
    for param in ("logit_bias", "stop_token_ids", "allowed_token_ids"):
        if outside := [token_id for token_id in getattr(sampling, param) if not 0 <= token_id < info.vocab_size]:
            raise UserError(f"{param} names token {outside[0]}, past the vocabulary of {info.vocab_size}", param=param)
