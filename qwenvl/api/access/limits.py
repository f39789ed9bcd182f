"""Requests, tokens and concurrency of each key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qwenvl.api.context import RequestContext
from qwenvl.engine import GenerationRequest, Step


class TokenCount:
    """Tokens that one request used."""

    def counted(self, steps: AsyncIterator[Step]) -> AsyncIterator[Step]:
        """The same steps, their usage noted on the way."""
        return steps


class RateLimits:
    """What every key has left of its minute."""

    @asynccontextmanager
    async def tokens(self, request: GenerationRequest, context: RequestContext) -> AsyncIterator[TokenCount]:
        """Take the request's tokens from the caller's minute."""
        yield TokenCount()
