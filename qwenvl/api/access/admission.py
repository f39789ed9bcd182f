"""A bounded number of requests in work, and a bounded queue before it."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

from qwenvl.api.context import INTERACTIVE, RequestContext
from qwenvl.api.errors import OverloadedError

RETRY_SECONDS = 5
"""When to come again where the queue is full or does not move."""

Turn: TypeAlias = asyncio.Future[None]


class Admission:
    """Places among the requests in work.

    A place that becomes free goes to the lowest priority number that waits; among equals the callers take turns, and
    each caller's requests come in their order. The bounds on waiting are for interactive requests: who runs batches
    bounds them himself, and they wait as long as it takes.

    Args:
        max_running: places.
        max_queued: interactive requests that may wait. Past it, the caller with most of them waiting loses its latest.
        queue_timeout: longest wait, in seconds.
    """

    def __init__(self, *, max_running: int = 1024, max_queued: int = 1024, queue_timeout: float = 60.0) -> None:
        self._max_running = max_running
        self._max_queued = max_queued
        self._queue_timeout = queue_timeout
        self._running = 0
        self._lines: dict[int, _Line] = {}

    @property
    def running(self) -> int:
        """Requests that have a place."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests that wait for one, batches included."""
        return sum(len(line) for line in self._lines.values())

    @asynccontextmanager
    async def place(self, context: RequestContext) -> AsyncIterator[None]:
        """A place, as soon as it is the request's turn.

        Raises:
            OverloadedError: too many requests wait already, or this one has waited for too long.
        """
        if self._running < self._max_running:
            self._running += 1
        else:
            await self._wait(context)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, context: RequestContext) -> None:
        bounded = context.priority <= INTERACTIVE
        line = self._lines.setdefault(context.priority, _Line())
        caller = context.caller.name
        if bounded and len(line) >= self._max_queued:
            line.make_room(caller)
        turn = line.join(caller)
        try:
            async with asyncio.timeout(self._queue_timeout if bounded else None):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # The place came in the same moment as the end of the wait.
                self._release()
            else:
                line.leave(caller, turn)
            if isinstance(error, TimeoutError):
                raise OverloadedError(
                    f"The server is busy: this request waited {self._queue_timeout:g} s for its turn. Try again later.",
                    code="queue_timeout",
                    retry_after=RETRY_SECONDS,
                ) from None
            raise

    def _release(self) -> None:
        """Hand the place to whoever is next, or free it."""
        for priority in sorted(self._lines):
            if (turn := self._lines[priority].next()) is not None:
                turn.set_result(None)
                return
        self._running -= 1


class _Line:
    """Those who wait with one priority: one line for each caller, served in turns."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, OrderedDict[Turn, None]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def join(self, caller: str) -> Turn:
        turn: Turn = asyncio.get_running_loop().create_future()
        self._turns.setdefault(caller, OrderedDict())[turn] = None
        self._length += 1
        return turn

    def leave(self, caller: str, turn: Turn) -> None:
        own = self._turns.get(caller)
        if own and turn in own:
            del own[turn]
            self._length -= 1
            if not own:
                del self._turns[caller]

    def next(self) -> Turn | None:
        """The turn that is next, out of the line; callers whose turn it was go to the end."""
        while self._turns:
            caller, own = next(iter(self._turns.items()))
            turn = next(iter(own))
            self._turns.move_to_end(caller)
            self.leave(caller, turn)
            # A cancelled one is done before its task leaves the line.
            if not turn.done():
                return turn
        return None

    def make_room(self, newcomer: str) -> None:
        """Turn away the latest of whoever has most in line, or the newcomer itself.

        Raises:
            OverloadedError: the newcomer has as many as anyone.
        """
        full = OverloadedError(
            "The server is busy, and as many requests as it lets wait do so already. Try again later.",
            code="queue_full",
            retry_after=RETRY_SECONDS,
        )
        longest = max(self._turns, key=lambda caller: len(self._turns[caller]), default=newcomer)
        if longest == newcomer or len(self._turns[longest]) <= len(self._turns.get(newcomer, ())) + 1:
            raise full
        turn = next(reversed(self._turns[longest]))
        self.leave(longest, turn)
        if not turn.done():
            turn.set_exception(full)
