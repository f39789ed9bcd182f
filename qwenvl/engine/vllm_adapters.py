"""Adapters on vLLM: copied and checked before its processes see them, each loading under a number of its own."""

import asyncio
import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from vllm.lora.request import LoRARequest

from qwenvl.engine.adapter_copy import copy_adapter
from qwenvl.engine.adapter_files import largest_weights, verify_adapter
from qwenvl.engine.adapters import AdapterTable, Served, check_name
from qwenvl.engine.protocol import Adapter, AdapterSource
from qwenvl.errors import CheckpointError, EngineDeadError, EngineError, UserError
from qwenvl.model_executor.config import QWenConfig

logger = logging.getLogger(__name__)

AskCore = Callable[[str, LoRARequest | int], Awaitable[object]]
"""Has every engine core do something: the name of its method and what that takes."""


class VLLMAdapters:
    """The adapters of one engine.

    Args:
        given: those to serve from the start.
        max_rank: largest rank that the engine has room for.
        ask_core: how to reach the engine, once it runs.
    """

    def __init__(self, given: Sequence[AdapterSource], max_rank: int, ask_core: AskCore) -> None:
        self._given = given
        self._max_rank = max_rank
        self._ask_core = ask_core
        self._table = AdapterTable()
        self._prepared: list[Served] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._copies: tempfile.TemporaryDirectory[str] | None = None
        self._config: QWenConfig | None = None

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """What requests can name."""
        return self._table.adapters

    def prepare(self, config: QWenConfig, models: Collection[str]) -> None:
        """Copy and check those that are given, in a thread; before the engine is up, so that mistakes cost seconds.

        Args:
            config: the served model's.
            models: its names.

        Raises:
            CheckpointError: one of them does not fit the model, or has its name.
        """
        if self._config is not None:
            return
        for source in self._given:
            if source.name in models:
                raise CheckpointError(f"adapter {source.name!r} has the name of the model: give it another one")
            self._prepared.append(self._admit(source, config, inside=None))
        self._config = config

    async def start(self) -> None:
        """Have the engine load what was prepared."""
        for served in self._prepared:
            await self._add(served)
            self._table.put(served)

    async def load(
        self, source: AdapterSource, models: Collection[str], *, capacity: int, inside: Path | None, replace: bool
    ) -> Adapter:
        """Check an adapter and serve it: see :meth:`qwenvl.engine.Engine.load_adapter`.

        Args:
            models: names of the model itself.
            capacity: most adapters; none where the engine runs without them.
        """
        if not capacity or self._config is None:
            raise UserError("This server was started without adapters: see --lora and --lora-dir.", param="lora_name")
        async with self._table.changing:
            self._table.check_free(source.name, models, capacity=capacity, replace=replace)
            served = await asyncio.to_thread(self._admit, source, self._config, inside=inside)
            try:
                await self._add(served)
            except BaseException:
                _remove_copy(served)
                raise
            if (before := self._table.put(served)) is not None:
                self._let_go(before)
        return served.adapter

    async def unload(self, name: str) -> None:
        """Serve an adapter no more: see :meth:`qwenvl.engine.Engine.unload_adapter`."""
        async with self._table.changing:
            self._let_go(self._table.remove(name))

    @contextlib.contextmanager
    def used(self, name: str | None) -> Iterator[LoRARequest | None]:
        """What vLLM takes for the adapter of a request that runs during the block.

        Raises:
            ModelNotFoundError: there is no such adapter, any more.
        """
        with self._table.used(name) as served:
            yield served and _lora_request(served)

    async def stop(self) -> None:
        """Remove the copies; the engine is gone or about to go."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if self._copies is not None:
            copies, self._copies = self._copies, None
            await asyncio.to_thread(copies.cleanup)

    def _admit(self, source: AdapterSource, config: QWenConfig, inside: Path | None) -> Served:
        """Copy an adapter and check the copy, which nobody else can change."""
        check_name(source.name)
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="qwenvl-adapters-")
        number = self._table.new_number()
        copy = Path(self._copies.name) / str(number)
        try:
            copy.mkdir()
            largest = largest_weights(config, self._max_rank)
            copy_adapter(source.folder, copy, largest=largest, inside=inside)
            checked = verify_adapter(copy, config, max_rank=self._max_rank)
        except CheckpointError as error:
            shutil.rmtree(copy, ignore_errors=True)
            # Nobody knows the copy.
            message = str(error).replace(str(copy), str(source.folder))
            raise CheckpointError(f"adapter {source.name!r}: {message}") from None
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise
        return Served(Adapter(source.name, checked.largest_rank, int(time.time())), number, copy)

    async def _add(self, served: Served) -> None:
        try:
            await self._ask_core("add_lora", _lora_request(served))
        except EngineError:
            raise
        except Exception as error:
            # The worker's exception comes as a bare one of its message.
            raise EngineError(f"the engine did not load the adapter {served.adapter.name!r}: {error}") from error

    def _let_go(self, served: Served) -> None:
        task = asyncio.create_task(self._leave(served), name=f"adapter-{served.number}-leaves")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _leave(self, served: Served) -> None:
        await served.idle.wait()
        try:
            with contextlib.suppress(EngineDeadError):
                await self._ask_core("remove_lora", served.number)
        except Exception:
            # Its memory stays taken; nobody can ask for it.
            logger.exception("the engine did not free the adapter %r", served.adapter.name)
        await asyncio.to_thread(_remove_copy, served)


def _remove_copy(served: Served) -> None:
    shutil.rmtree(served.folder, ignore_errors=True)


def _lora_request(served: Served) -> LoRARequest:
    # vLLM takes requests of one name for the same, in its sets and in the keys of its prefix cache. An adapter that was
    # loaded again is another one, and both may run in one batch.
    return LoRARequest(f"{served.adapter.name}#{served.number}", served.number, str(served.folder))
