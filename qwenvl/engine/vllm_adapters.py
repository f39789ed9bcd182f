"""Adapters on vLLM: copied and checked before its processes see them, each loading under a number of its own."""

import asyncio
import contextlib
import logging
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from vllm.lora.request import LoRARequest

from qwenvl.engine.adapter_files import admit_adapter
from qwenvl.engine.adapters import AdapterLoadError, AdapterTable, Served, check_name, unfit
from qwenvl.engine.protocol import Adapter, AdapterSource
from qwenvl.errors import CheckpointError, EngineDeadError, EngineError, UserError
from qwenvl.model_executor.config import QWenConfig

logger = logging.getLogger(__name__)

T = TypeVar("T")

AskCore = Callable[[str, LoRARequest | int], Awaitable[object]]
"""Has every engine core do something: the name of its method and what that takes."""

ADD_SECONDS = 120.0
"""Time for the engine to load an adapter, between two of its steps."""
REMOVE_SECONDS = 10.0
"""Time for the engine to free one, before the request that asked for it is answered anyway."""


class VLLMAdapters:
    """The adapters of one engine.

    Args:
        given: those to serve from the start.
        capacity: most adapters; none where the engine runs without them. vLLM must have room for one more: what it
            drops to make room it would load again from a copy that is gone.
        max_rank: largest rank that the engine has room for.
        ask_core: how to reach the engine, once it runs.
    """

    def __init__(self, given: Sequence[AdapterSource], capacity: int, max_rank: int, ask_core: AskCore) -> None:
        self._given = given
        self._capacity = capacity
        self._max_rank = max_rank
        self._ask_core = ask_core
        self._table = AdapterTable(capacity)
        self._config: QWenConfig | None = None
        self._prepared: list[Served] = []
        self._loads: set[asyncio.Task[Adapter]] = set()
        self._leaves: set[asyncio.Task[None]] = set()
        # Caches outside this process may outlive it, and its numbers start again.
        self._run = secrets.token_hex(4)

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """What requests can name."""
        return self._table.adapters

    def prepare(self, config: QWenConfig, models: Collection[str]) -> None:
        """Copy and check those that are given, in a thread: once, and as early as the configuration is known.

        Args:
            config: the served model's.
            models: its names.

        Raises:
            CheckpointError: one of them does not fit the model or has its name, or there are too many.
            EngineError: a copy cannot be written.
        """
        self._config = config
        if len(self._given) > self._capacity:
            raise CheckpointError(
                f"{len(self._given)} adapters are given, and the engine has room for {self._capacity}"
            )
        for source in self._given:
            if source.name in models:
                raise CheckpointError(f"adapter {source.name!r} has the name of the model: give it another one")
            self._prepared.append(self._admit(source, config, inside=None))

    async def start(self) -> None:
        """Have the engine load what was prepared."""
        while self._prepared:
            served = self._prepared.pop(0)
            await self._add(served)
            self._table.put(served)

    async def load(
        self, source: AdapterSource, models: Collection[str], *, inside: Path | None, replace: bool
    ) -> Adapter:
        """Check an adapter and serve it: see :meth:`qwenvl.engine.Engine.load_adapter`.

        Args:
            models: names of the model itself.
        """
        if not self._capacity or self._config is None:
            raise UserError("This server was started without adapters: see --lora and --lora-dir.", param="lora_name")
        # Begun, it is done, also when nobody waits for it any more: neither a thread nor the engine can be called off.
        return await asyncio.shield(
            _kept(self._loads, self._load(source, models, self._config, inside=inside, replace=replace))
        )

    async def _load(
        self, source: AdapterSource, models: Collection[str], config: QWenConfig, *, inside: Path | None, replace: bool
    ) -> Adapter:
        with self._table.loading(source.name, models, replace=replace):
            served = await asyncio.to_thread(self._admit, source, config, inside=inside)
            await self._add(served)
            before = self._table.put(served)
        if before is not None:
            await self._send_off(before)
        return served.adapter

    async def unload(self, name: str) -> None:
        """Serve an adapter no more: see :meth:`qwenvl.engine.Engine.unload_adapter`."""
        await self._send_off(self._table.remove(name))

    @contextlib.contextmanager
    def used(self, name: str | None) -> Iterator[LoRARequest | None]:
        """What vLLM takes for the adapter of a request that runs during the block.

        Raises:
            ModelNotFoundError: there is no such adapter, any more.
        """
        with self._table.used(name) as served:
            yield served and self._lora_request(served)

    async def stop(self) -> None:
        """Wait for what is being loaded, and wait no more for what is leaving. The engine should still be there."""
        for task in self._leaves:
            task.cancel()
        await asyncio.gather(*self._leaves, *self._loads, return_exceptions=True)
        for served in self._prepared:
            await asyncio.to_thread(_remove_copy, served.folder)

    def _admit(self, source: AdapterSource, config: QWenConfig, inside: Path | None) -> Served:
        """Copy an adapter and check the copy, which nobody else can change."""
        check_name(source.name)
        try:
            copy = Path(tempfile.mkdtemp(prefix="qwenvl-adapter-"))
        except OSError as error:
            raise AdapterLoadError(source.name, f"no temporary folder for its copy, see TMPDIR: {error}") from error
        try:
            checked = admit_adapter(source.folder, copy, config, max_rank=self._max_rank, inside=inside)
        except BaseException as error:
            _remove_copy(copy)
            if isinstance(error, CheckpointError):
                raise unfit(source.name, error) from None
            if isinstance(error, OSError):
                raise AdapterLoadError(source.name, f"its copy in TMPDIR cannot be written: {error}") from error
            raise
        return Served(Adapter(source.name, checked.largest_rank, int(time.time())), self._table.new_number(), copy)

    async def _add(self, served: Served) -> None:
        """Have the engine load a copy, which goes then: the engine reads it this once."""
        name = served.adapter.name
        try:
            await asyncio.wait_for(self._ask_core("add_lora", self._lora_request(served)), ADD_SECONDS)
        except BaseException as error:
            # It may be loaded for all that, or by some of the engine's processes.
            self._table.leave(served)
            self._let_go(served)
            if isinstance(error, TimeoutError):
                raise AdapterLoadError(name, f"the engine did not answer within {ADD_SECONDS:g} s") from error
            # The worker's exception comes as a bare one of its message.
            if isinstance(error, Exception) and not isinstance(error, EngineError):
                raise AdapterLoadError(name, f"the engine refused it: {error}") from error
            raise
        finally:
            await asyncio.to_thread(_remove_copy, served.folder)

    async def _send_off(self, served: Served) -> None:
        """Have an adapter leave the engine; where no request runs on it, its place is free afterwards."""
        leaving = self._let_go(served)
        if served.idle.is_set():
            await asyncio.wait({leaving}, timeout=REMOVE_SECONDS)

    def _let_go(self, served: Served) -> asyncio.Task[None]:
        return _kept(self._leaves, self._leave(served))

    async def _leave(self, served: Served) -> None:
        await served.idle.wait()
        try:
            await self._ask_core("remove_lora", served.number)
        except EngineDeadError:
            return
        except Exception:
            # It keeps its place, since the engine still holds it.
            logger.exception("the engine did not free the adapter %r", served.adapter.name)
            return
        self._table.left(served)

    def _lora_request(self, served: Served) -> LoRARequest:
        # vLLM takes requests of one name for the same, in its sets and in the keys of its prefix cache. An adapter that
        # was loaded again is another one, and both may run in one batch.
        name = f"{served.adapter.name}#{self._run}.{served.number}"
        return LoRARequest(name, served.number, str(served.folder))


def _kept(tasks: set[asyncio.Task[T]], work: Coroutine[object, object, T]) -> asyncio.Task[T]:
    """A task that is kept among others until it is done: the event loop itself lets go of what nobody holds."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def _remove_copy(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
