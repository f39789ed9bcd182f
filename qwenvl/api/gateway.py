"""What all routes share, and the one way from them to the engine."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from time import perf_counter

from qwenvl.api.access.admission import Admission
from qwenvl.api.access.deadline import Deadline
from qwenvl.api.access.limits import RateLimits
from qwenvl.api.context import RequestContext
from qwenvl.api.generation import steps_of
from qwenvl.api.settings import Settings
from qwenvl.api.telemetry.images import ObservedImages
from qwenvl.api.telemetry.metrics import Metrics
from qwenvl.engine import Engine, GenerationRequest, ModelInfo, Step


@dataclass(frozen=True, slots=True)
class Gateway:
    """The engine, and what stands before it. One for each server."""

    engine: Engine
    settings: Settings
    images: ObservedImages
    admission: Admission
    limits: RateLimits
    metrics: Metrics

    @property
    def info(self) -> ModelInfo:
        """What is served."""
        return self.engine.info

    def adapter_of(self, model: str) -> str | None:
        """The adapter that a request for ``model`` runs on; None for the model itself, by whichever of its names."""
        return None if model in self.info.names else model

    @asynccontextmanager
    async def admitted(self, context: RequestContext) -> AsyncIterator[None]:
        """A place among the requests in work; to be held from before images are fetched to the last token.

        Raises:
            OverloadedError: the queue is full, or the request waited for too long.
        """
        with ExitStack() as waiting:
            waiting.enter_context(context.record.trace.part("admission"))
            started = perf_counter()
            async with self.admission.place(context):
                self.metrics.waited(perf_counter() - started, context)
                waiting.close()
                Deadline.start()
                yield

    @asynccontextmanager
    async def steps(
        self, request: GenerationRequest, context: RequestContext, *, takes_tokens: bool = True
    ) -> AsyncIterator[AsyncIterator[Step]]:
        """The engine's steps for one request, which ends with the block however the block ends.

        Args:
            request: for the engine.
            context: of the request that it is a part of.
            takes_tokens: from the caller's minute; off where they were taken before, for several of these together.

        Raises:
            DeadlineError: the request took too long since it was admitted.
            EngineError: the engine does not run, or fails.
            RateLimitError: the caller's tokens of this minute are used up.
            UserError: the engine refuses the request.
        """
        prompt_tokens = len(request.token_ids) + len(request.images) * self.info.tokens_per_image
        async with (
            self.limits.tokens(prompt_tokens, request.sampling, context) if takes_tokens else nullcontext() as used,
            steps_of(self.engine, request) as steps,
            Deadline(self.engine, request.request_id, self.settings.request_timeout) as deadline,
            aclosing(deadline.until(steps)) as timely,
            aclosing(used.counted(timely) if used else timely) as counted,
            aclosing(self.metrics.observed(counted, context)) as observed,
        ):
            with context.record.trace.part("generate"):
                yield observed
