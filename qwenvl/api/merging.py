"""Several generations at the same time, read as one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from qwenvl.engine import Step

MAX_AT_A_TIME = 16
"""Prompts of one request on the engine at the same time: it came in as one, and others wait beside it."""

Opening = AbstractAsyncContextManager[AsyncIterator[Step]]


async def merged(openings: Sequence[Opening]) -> AsyncGenerator[tuple[int, Step]]:
    """The steps of all, each with the number of its generation, as they come.

    The first error ends all of them and is raised. They have all ended when this has, also where it is closed early.

    Args:
        openings: each is entered when its turn comes, and left when its steps are read.
    """
    if len(openings) == 1:
        async with openings[0] as steps:
            async for step in steps:
                yield 0, step
        return
    arrived: asyncio.Queue[tuple[int, Step | Exception | None]] = asyncio.Queue(MAX_AT_A_TIME)
    turns = asyncio.Semaphore(MAX_AT_A_TIME)
    # No task group: what reads this may be another task each time, and a group belongs to one.
    reading = [asyncio.create_task(_read(i, opening, turns, arrived)) for i, opening in enumerate(openings)]
    try:
        left = len(reading)
        while left:
            i, item = await arrived.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield i, item
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def _read(
    number: int,
    opening: Opening,
    turns: asyncio.Semaphore,
    arrived: "asyncio.Queue[tuple[int, Step | Exception | None]]",
) -> None:
    end: Exception | None = None
    try:
        async with turns, opening as steps:
            async for step in steps:
                await arrived.put((number, step))
    except Exception as error:
        end = error
    await arrived.put((number, end))
