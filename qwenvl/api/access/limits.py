"""Requests, tokens and concurrency of each key."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import anyio

from qwenvl.api.access.windows import Taken, Windows
from qwenvl.api.context import INTERACTIVE, RequestContext
from qwenvl.api.errors import RateLimitError
from qwenvl.engine import SamplingOptions, Step, Usage
from qwenvl.errors import EngineError, UserError

RESERVED_ANSWER = 256
"""Tokens of each answer that are taken from the minute before they exist; the account is settled at the end."""


class TokenCount:
    """Tokens that one request used."""

    def __init__(self) -> None:
        self.usage: Usage | None = None

    async def counted(self, steps: AsyncIterator[Step]) -> AsyncGenerator[Step]:
        """The same steps, their usage noted on the way."""
        async for step in steps:
            self.usage = step.usage
            yield step


class RateLimits:
    """What every caller has left of its minute, by a sliding window; two counters a caller and limit.

    Batches are not counted: they run in what interactive requests leave over.
    """

    def __init__(self) -> None:
        self._requests = Windows("requests")
        self._tokens = Windows("tokens")
        self._in_work: Counter[str] = Counter()

    @asynccontextmanager
    async def request(self, context: RequestContext) -> AsyncIterator[None]:
        """Count a request, which is in work during the block.

        Raises:
            RateLimitError: the caller has as many in work as it may, or its requests of this minute are used up.
        """
        caller, limits = context.caller.name, context.caller.limits
        if limits.concurrent_requests is not None and self._in_work[caller] >= limits.concurrent_requests:
            raise RateLimitError(
                f"Rate limit reached for {caller} on concurrent requests: Limit {limits.concurrent_requests}, "
                f"Used {self._in_work[caller]}, Requested 1. Please try again when one of them has ended.",
                kind="requests",
                retry_after=1,
            )
        # Before anything waits: two at a time must not pass as one.
        self._in_work[caller] += 1
        try:
            if limits.requests_per_minute is not None:
                await self._take(self._requests, 1, limits.requests_per_minute, context)
            yield
        finally:
            self._in_work[caller] -= 1
            if not self._in_work[caller]:
                del self._in_work[caller]

    @asynccontextmanager
    async def tokens(
        self, prompt_tokens: int, sampling: SamplingOptions, context: RequestContext
    ) -> AsyncIterator[TokenCount | None]:
        """Take a request's tokens from the caller's minute: the prompt's and some of the answer's at once.

        What it really used is settled at the end, however it ends. None where nothing is to be counted.

        Raises:
            RateLimitError: they are used up, or the prompt alone is as large as the limit.
        """
        limit = context.caller.limits.tokens_per_minute
        if limit is None or context.priority > INTERACTIVE:
            yield None
            return
        if prompt_tokens >= limit:
            raise _too_large(context.caller.name, limit, prompt_tokens + 1)
        reserved = min(prompt_tokens + sampling.n * min(sampling.max_tokens, RESERVED_ANSWER), limit)
        taken = await self._take(self._tokens, reserved, limit, context)
        used, unseen = TokenCount(), prompt_tokens
        try:
            yield used
        except (EngineError, UserError):
            # Refused before the first step, it cost nothing. Who leaves before it has made the engine read the prompt.
            unseen = 0
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._tokens.settle(taken, used.usage.total_tokens if used.usage else unseen)
                context.response_headers.update(await self._tokens.headers(limit, context.caller.name))

    async def _take(self, windows: Windows, cost: int, limit: int, context: RequestContext) -> Taken:
        try:
            return await windows.take(cost, limit, context.caller.name)
        finally:
            context.response_headers.update(await windows.headers(limit, context.caller.name))


def _too_large(caller: str, limit: int, asked: int) -> RateLimitError:
    return RateLimitError(
        f"Request too large for {caller} on tokens per min (TPM): Limit {limit}, Requested {asked}. "
        "The input or output tokens must be reduced in order to run successfully.",
        kind="tokens",
        retry_after=None,
    )
