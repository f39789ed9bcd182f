"""What all routes share, and the one way from them to the engine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from qwenvl.api.access.admission import Admission
from qwenvl.api.access.limits import RateLimits
from qwenvl.api.context import RequestContext
from qwenvl.api.generation import steps_of
from qwenvl.api.media.loader import ImageLoader
from qwenvl.api.settings import Settings
from qwenvl.api.telemetry.metrics import Metrics
from qwenvl.engine import Engine, GenerationRequest, ModelInfo, Step


@dataclass(frozen=True, slots=True)
class Gateway:
    """The engine, and what stands before it. One for each server."""

    engine: Engine
    settings: Settings
    images: ImageLoader
    admission: Admission
    limits: RateLimits
    metrics: Metrics

    @property
    def info(self) -> ModelInfo:
        """What is served."""
        return self.engine.info

    @asynccontextmanager
    async def admitted(self, context: RequestContext) -> AsyncIterator[None]:
        """A place among the requests in work; to be held from before images are fetched to the last token.

        Raises:
            OverloadedError: the queue is full, or the request waited or worked for too long.
        """
        async with self.admission.place(context):
            yield

    @asynccontextmanager
    async def steps(self, request: GenerationRequest, context: RequestContext) -> AsyncIterator[AsyncIterator[Step]]:
        """The engine's steps for one request, which ends with the block however the block ends.

        Raises:
            EngineError: the engine does not run, or fails.
            RateLimitError: the caller's tokens of this minute are used up.
            UserError: the engine refuses the request.
        """
        async with (
            self.limits.tokens(request, context) as used,
            steps_of(self.engine, request) as steps,
        ):
            yield self.metrics.observed(used.counted(steps), context)
