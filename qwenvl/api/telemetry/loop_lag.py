"""How late the event loop is: what every stream waits for when something blocks it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

INTERVAL_SECONDS = 0.1


@asynccontextmanager
async def loop_lag_measured(note: Callable[[float], None], interval: float = INTERVAL_SECONDS) -> AsyncIterator[None]:
    """Note the running loop's lag in seconds, every ``interval`` seconds as long as the block runs."""
    measuring = asyncio.create_task(_measure(note, interval), name="event-loop-lag")
    try:
        yield
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)


async def _measure(note: Callable[[float], None], interval: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        note(max(0.0, loop.time() - due))
