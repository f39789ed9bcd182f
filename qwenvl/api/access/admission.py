"""A bounded number of requests in work, and a bounded queue before it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qwenvl.api.context import RequestContext


class Admission:
    """Places among the requests in work; those of a lower priority number come first."""

    @asynccontextmanager
    async def place(self, context: RequestContext) -> AsyncIterator[None]:
        """A place, as soon as one is free."""
        yield
