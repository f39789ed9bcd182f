"""Sliding windows of a minute, one for each caller."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor
from typing import Literal

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from qwenvl.api.errors import RateLimitError

MINUTE = 60

_SHOWN = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken from whom, and the name of the counter it stands in."""

    key: str
    counter: str
    amount: int


@dataclass(frozen=True, slots=True)
class WindowState:
    """A caller's two counters: that of the minute on the clock, and the one before, which fades while this one lasts.

    Attributes:
        left: seconds that the current minute still has.
    """

    previous: int
    current: int
    left: float

    @property
    def used(self) -> int:
        """How much of the limit counts as used."""
        return floor(self.previous * self.left / MINUTE + self.current)

    def seconds_until(self, cost: int, limit: int) -> float:
        """Seconds until ``cost``, at most ``limit``, can be taken if nothing else is."""
        room = limit - cost + 1
        if self.current < room:
            return max(0.0, self.left - (room - self.current) * MINUTE / self.previous) if self.previous else 0.0
        # Then the current counter fades in its turn.
        return self.left + max(0.0, MINUTE - room * MINUTE / self.current)

    @property
    def reset(self) -> float:
        """Seconds until nothing counts as used any more."""
        if self.current:
            return self.left + MINUTE
        return self.left if self.previous else 0.0


class Windows:
    """What each caller used of one limit, in the process's memory: two counters a caller."""

    def __init__(self, kind: Literal["requests", "tokens"]) -> None:
        self._kind = kind
        self._storage = MemoryStorage()
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)

    async def take(self, cost: int, limit: int, caller: str) -> Taken:
        """Take ``cost`` of what is left.

        Raises:
            RateLimitError: less is left.
        """
        item = _per_minute(limit)
        key = item.key_for(self._kind, caller)
        counter = self._counter(key)
        if await self._limiter.hit(item, self._kind, caller, cost=cost):
            return Taken(key, counter, cost)
        state = await self._state(item, caller)
        wait = state.seconds_until(cost, limit)
        raise RateLimitError(
            f"Rate limit reached for {caller} on {_SHOWN[self._kind]}: Limit {limit}, Used {state.used}, "
            f"Requested {cost}. Please try again in {duration(wait)}.",
            kind=self._kind,
            retry_after=wait,
        )

    async def settle(self, taken: Taken, used: int) -> None:
        """Give back what was taken and not used, or charge what was used besides."""
        if used < taken.amount:
            # A counter that has run out by now would be made anew, and nothing would remove it.
            if await self._storage.get(taken.counter):
                await self._storage.decr(taken.counter, taken.amount - used)
        elif used > taken.amount:
            # Into the current minute, and past the limit if need be: the tokens are there.
            await self._storage.incr(self._counter(taken.key), 2 * MINUTE, used - taken.amount)

    async def headers(self, limit: int, caller: str) -> Mapping[str, str]:
        """OpenAI's headers for the caller's state."""
        state = await self._state(_per_minute(limit), caller)
        return {
            f"x-ratelimit-limit-{self._kind}": str(limit),
            f"x-ratelimit-remaining-{self._kind}": str(max(0, limit - state.used)),
            f"x-ratelimit-reset-{self._kind}": duration(state.reset),
        }

    async def _state(self, item: RateLimitItem, caller: str) -> WindowState:
        previous, _, current, current_expiry = await self._storage.get_sliding_window(
            item.key_for(self._kind, caller), MINUTE
        )
        return WindowState(previous, current, current_expiry - MINUTE)

    def _counter(self, key: str) -> str:
        return self._storage.sliding_window_keys(key, MINUTE, time.time())[1]


@lru_cache(maxsize=1024)
def _per_minute(limit: int) -> RateLimitItem:
    return RateLimitItemPerMinute(limit)


def duration(seconds: float) -> str:
    """As OpenAI writes it: ``250ms``, ``1s``, ``6m0s``. Rounded up."""
    if seconds < 1:
        return f"{ceil(seconds * 1000)}ms"
    minutes, rest = divmod(ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
