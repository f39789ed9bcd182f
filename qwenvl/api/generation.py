"""Running one request on the engine, for as long as someone waits for it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
from starlette.types import Receive

from qwenvl.api.errors import ClientDisconnectedError
from qwenvl.engine import Engine, GenerationRequest, Step
from qwenvl.errors import EngineDeadError

ResultT = TypeVar("ResultT")


@asynccontextmanager
async def steps_of(engine: Engine, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Step]]:
    """The steps of one request, which ends with the block however the block ends.

    Raises:
        EngineDeadError: the engine does not run.
    """
    if not engine.is_alive:
        raise EngineDeadError("the engine does not run")
    steps = engine.generate(request)
    try:
        yield steps
    finally:
        # Left to the garbage collector, the request would run on with nobody reading. Shielded, since the block often
        # ends by a cancellation.
        with anyio.CancelScope(shield=True):
            await steps.aclose()


async def while_connected(receive: Receive, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of ``work``, cancelled when the client leaves. The request's body must have been read.

    Raises:
        ClientDisconnectedError: the client left first.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.create_task(_until_disconnected(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnectedError
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
