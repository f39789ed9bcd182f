"""The end of a request's time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import ContextVar

import anyio

from qwenvl.api.errors import DeadlineError
from qwenvl.engine import Engine, Step

_started: ContextVar[float | None] = ContextVar("started", default=None)


class Deadline:
    """Aborts a request on the engine when its time is up, and says so to whoever reads its steps.

    A stream's steps are read by one task before the first event and by another after it, and by none while a slow
    client is being sent to. So this is a timer of the event loop rather than a timeout around some task's waiting.

    Args:
        seconds: from the request's turn to its last token.
    """

    def __init__(self, engine: Engine, request_id: str, seconds: float) -> None:
        self._engine = engine
        self._request_id = request_id
        self._seconds = seconds
        self._expired = False
        self._aborting: asyncio.Task[None] | None = None

    @staticmethod
    def start() -> None:
        """Note that the current task's request has its turn now."""
        _started.set(asyncio.get_running_loop().time())

    async def __aenter__(self) -> "Deadline":
        loop = asyncio.get_running_loop()
        started = _started.get()
        self._at = (loop.time() if started is None else started) + self._seconds
        self._timer = loop.call_at(self._at, self._expire)
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._timer.cancel()
        if self._aborting is not None:
            with anyio.CancelScope(shield=True):
                await self._aborting

    async def until(self, steps: AsyncIterator[Step]) -> AsyncGenerator[Step]:
        """The same steps, up to the deadline.

        Raises:
            DeadlineError: it has passed.
        """
        # The engine knows nothing of a request that it still prepares, so an abort might be lost on it: this waiting
        # is ended itself. One task does it from beginning to end.
        try:
            async with asyncio.timeout_at(self._at) as waiting:
                step = await anext(steps, None)
        except TimeoutError:
            if waiting.expired():
                raise DeadlineError(self._seconds) from None
            raise
        while step is not None and not self._expired:
            yield step
            step = await anext(steps, None)
        if self._expired:
            raise DeadlineError(self._seconds)

    def _expire(self) -> None:
        self._expired = True
        self._aborting = asyncio.create_task(self._engine.abort(self._request_id))
