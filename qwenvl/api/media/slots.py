"""Who may fetch next: slow hosts and greedy requests must leave room for everyone else."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class _Waiter:
    owner: object
    host: str
    turn: asyncio.Future[None]


class FetchSlots:
    """A number of places for fetches.

    One host holds at most a quarter of them. A request that holds a place gets another only while more than half are
    free: the second half is for each request's first image. Whoever holds the fewest comes first.

    Args:
        total: fetches at a time.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._per_host = max(1, total // 4)
        self._owners: Counter[object] = Counter()
        self._hosts: Counter[str] = Counter()
        self._waiting: list[_Waiter] = []

    @asynccontextmanager
    async def slot(self, owner: object, host: str) -> AsyncIterator[None]:
        """Hold a place, once there is one.

        Args:
            owner: the request.
            host: where its image is.
        """
        await self._acquire(owner, host)
        try:
            yield
        finally:
            self._release(owner, host)

    async def _acquire(self, owner: object, host: str) -> None:
        if self._may_take(owner, host):
            self._take(owner, host)
            return
        waiter = _Waiter(owner, host, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:
                self._release(owner, host)
            raise

    def _may_take(self, owner: object, host: str) -> bool:
        free = self._total - self._owners.total()
        enough = free > self._total // 2 if owner in self._owners else free > 0
        return enough and self._hosts[host] < self._per_host

    def _take(self, owner: object, host: str) -> None:
        self._owners[owner] += 1
        self._hosts[host] += 1

    def _release(self, owner: object, host: str) -> None:
        self._owners -= Counter({owner: 1})
        self._hosts -= Counter({host: 1})
        while allowed := [waiter for waiter in self._waiting if self._may_give(waiter)]:
            following = min(allowed, key=lambda waiter: self._owners[waiter.owner])
            self._waiting.remove(following)
            self._take(following.owner, following.host)
            following.turn.set_result(None)

    def _may_give(self, waiter: _Waiter) -> bool:
        # Cancelled ones stay in line until their task runs again.
        return not waiter.turn.done() and self._may_take(waiter.owner, waiter.host)
