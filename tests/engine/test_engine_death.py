"""The engine's process is killed under load."""

import asyncio
from typing import Any

import psutil
import pytest

from qwenvl.engine import GenerationRequest
from qwenvl.errors import EngineDeadError
from tests.engine.asking import request
from tests.parity.golden import CHECKPOINT
from tests.processes import command_of
from tests.stack import KV_CACHE_BYTES

pytestmark = pytest.mark.slow

PATIENCE = 10.0


async def test_everyone_hears_of_it_and_nothing_is_left() -> None:
    from vllm import AsyncEngineArgs

    from qwenvl.engine.vllm_engine import VLLMEngine

    before = set(psutil.Process().children(recursive=True))
    engine = VLLMEngine(
        AsyncEngineArgs(
            model=str(CHECKPOINT), dtype="float32", enforce_eager=True, kv_cache_memory_bytes=KV_CACHE_BYTES
        )
    )
    await engine.start()
    dead = asyncio.create_task(engine.wait_dead())
    begun: asyncio.Queue[None] = asyncio.Queue()

    async def generate(wanted: GenerationRequest) -> Any:
        async for _ in engine.generate(wanted):
            begun.put_nowait(None)

    reading = [asyncio.create_task(generate(request(max_tokens=4000, ignore_eos=True))) for _ in range(8)]
    for _ in reading:
        await begun.get()
    ours = set(psutil.Process().children(recursive=True)) - before
    commands = {child: command_of(child) for child in ours}
    (core,) = (child for child, command in commands.items() if "EngineCore" in command)
    core.kill()

    async with asyncio.timeout(PATIENCE):
        failures = await asyncio.gather(*reading, return_exceptions=True)
        await dead
    assert [type(failure) for failure in failures] == [EngineDeadError] * len(reading)
    assert (engine.is_alive, engine.in_flight) == (False, 0)
    with pytest.raises(EngineDeadError):
        await generate(request())
    assert await engine.drain(PATIENCE)
    await engine.stop()
    await engine.stop()
    # A browser of other tests starts processes of its own meanwhile; all else must go.
    others = ("multiprocessing", "chrom")
    workers = [child for child, command in commands.items() if not any(name in command for name in others)]
    assert core in workers
    assert not psutil.wait_procs(workers, PATIENCE)[1]
