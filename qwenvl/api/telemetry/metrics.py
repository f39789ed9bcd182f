"""The gateway's own metrics, in Prometheus' form."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from qwenvl import __version__
from qwenvl.api.access.admission import Admission
from qwenvl.api.context import INTERACTIVE, RequestContext
from qwenvl.api.telemetry.record import Outcome, RequestRecord
from qwenvl.engine import Engine, Step

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

UNKNOWN_MODEL = "unknown"
OVERLOAD_STATUSES = (429, 503)
MOST_NAMES = 100
"""Names of models that have series; past that, those of adapters that went first are forgotten."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_FIRST_TOKEN_SECONDS = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 60)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
_WAIT_SECONDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
_IMAGE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counts and histograms of one server.

    Labels have few values whatever clients send: routes are templates, and a model that is not served is ``unknown``.

    Args:
        engine: whose models are named, and whose own metrics follow the gateway's.
        admission: whose queue is shown.
    """

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._engine = engine
        self._once_served: dict[str, None] = {}
        self._registry = registry = CollectorRegistry()
        Gauge("qwenvl_build_info", "Version of the gateway; always 1.", ["version"], registry=registry).labels(
            __version__
        ).set(1)
        running = Gauge("qwenvl_requests_running", "Requests with a place among those in work.", registry=registry)
        running.set_function(lambda: admission.running)
        waiting = Gauge("qwenvl_requests_waiting", "Requests that wait for such a place.", registry=registry)
        waiting.set_function(lambda: admission.waiting)
        self._describe_http(registry)
        self._describe_generation(registry)
        self._images = Counter(
            "qwenvl_images", "Images of requests, by what became of them.", ["outcome"], registry=registry
        )
        self._image_time = Histogram(
            "qwenvl_image_load_seconds",
            "Time to fetch and decode all images of a request.",
            buckets=_IMAGE_SECONDS,
            registry=registry,
        )
        self._lag = Histogram(
            "qwenvl_event_loop_lag_seconds",
            "How late the event loop wakes up a timer.",
            buckets=_LAG_SECONDS,
            registry=registry,
        )

    def _describe_http(self, registry: CollectorRegistry) -> None:
        self._in_flight = Gauge("qwenvl_http_requests_in_flight", "HTTP requests being answered.", registry=registry)
        self._requests = Counter(
            "qwenvl_http_requests", "HTTP requests.", ["method", "route", "status", "model"], registry=registry
        )
        self._duration = Histogram(
            "qwenvl_http_request_duration_seconds",
            "Time from a request's headers to the last byte of its answer.",
            ["route", "status", "model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "qwenvl_errors", "Requests answered or ended with an error object.", ["route", "code"], registry=registry
        )
        self._rejected = Counter(
            "qwenvl_requests_rejected",
            "Requests turned away with 429 or 503: rate limits, a full queue, an engine that does not run.",
            ["reason"],
            registry=registry,
        )
        self._aborted = Counter(
            "qwenvl_requests_aborted",
            "Requests whose client left before the answer was complete.",
            ["route"],
            registry=registry,
        )

    def _describe_generation(self, registry: CollectorRegistry) -> None:
        labels = ["route", "model", "priority"]
        self._queue_wait = Histogram(
            "qwenvl_queue_wait_seconds",
            "Time that admitted requests waited for their turn.",
            ["priority"],
            buckets=_WAIT_SECONDS,
            registry=registry,
        )
        self._first_token = Histogram(
            "qwenvl_time_to_first_token_seconds",
            "Time from a request's headers to its first token.",
            labels,
            buckets=_FIRST_TOKEN_SECONDS,
            registry=registry,
        )
        self._token_time = Histogram(
            "qwenvl_time_per_output_token_seconds",
            "Mean time between a request's tokens, after the first; those of all its answers count.",
            labels,
            buckets=_TOKEN_SECONDS,
            registry=registry,
        )
        self._prompt_tokens = Counter(
            "qwenvl_prompt_tokens", "Tokens of prompts, image positions among them.", labels, registry=registry
        )
        self._completion_tokens = Counter("qwenvl_completion_tokens", "Tokens of answers.", labels, registry=registry)

    @property
    def _by_model(self) -> tuple[Counter | Histogram, ...]:
        tokens = (self._first_token, self._token_time, self._prompt_tokens, self._completion_tokens)
        return (self._requests, self._duration, *tokens)

    def text(self) -> bytes:
        """The gateway's metrics and the engine's, in Prometheus' text format. Takes milliseconds: not for the loop."""
        return generate_latest(self._registry) + self._engine.metrics()

    def in_flight(self) -> AbstractContextManager[None]:
        """Count a request as in flight during the block."""
        return self._in_flight.track_inprogress()

    def answered(self, record: RequestRecord, outcome: Outcome) -> None:
        """Note a request that is over."""
        method = outcome.method if outcome.method in _METHODS else "other"
        route, status = outcome.route, str(outcome.status)
        self._requests.labels(method, route, status, outcome.model).inc()
        self._duration.labels(route, status, outcome.model).observe(outcome.duration)
        if record.error_code is not None:
            self._errors.labels(route, record.error_code).inc()
        if outcome.status in OVERLOAD_STATUSES:
            self._rejected.labels(record.error_code or "other").inc()
        if outcome.aborted:
            self._aborted.labels(route).inc()

    def waited(self, seconds: float, context: RequestContext) -> None:
        """Note how long a request waited for its turn."""
        self._queue_wait.labels(_priority(context)).observe(seconds)

    @contextmanager
    def loading_images(self, count: int) -> Iterator[None]:
        """Note how the loading of a request's images in the block goes."""
        started = perf_counter()
        outcome = "refused"
        try:
            yield
            outcome = "loaded"
        finally:
            self._images.labels(outcome).inc(count)
            self._image_time.observe(perf_counter() - started)

    def lagged(self, seconds: float) -> None:
        """Note that the event loop woke up so late."""
        self._lag.observe(seconds)

    async def observed(self, steps: AsyncIterator[Step], context: RequestContext) -> AsyncGenerator[Step]:
        """The same steps, noted on their way. Close it: it counts the tokens at its end, however it ends."""
        record = context.record
        labels = (context.route, self.model_label(record.model), _priority(context))
        first = last = 0.0
        step = None
        try:
            async for step in steps:
                last = perf_counter()
                if not first:
                    first = last
                    if record.time_to_first_token is None:
                        record.time_to_first_token = first - record.started
                        self._first_token.labels(*labels).observe(record.time_to_first_token)
                yield step
        finally:
            if step is not None:
                usage = step.usage
                record.prompt_tokens += usage.prompt_tokens
                record.completion_tokens += usage.completion_tokens
                self._prompt_tokens.labels(*labels).inc(usage.prompt_tokens)
                self._completion_tokens.labels(*labels).inc(usage.completion_tokens)
                if usage.completion_tokens > 1:
                    self._token_time.labels(*labels).observe((last - first) / (usage.completion_tokens - 1))

    def model_label(self, name: str) -> str:
        """The name a client gives a model, if that is served; empty if it gives none."""
        # A request's name stays, whatever becomes of its adapter meanwhile.
        if name not in self._once_served and self._is_served(name):
            self._once_served[name] = None
            if len(self._once_served) > MOST_NAMES:
                self._forget_one()
        return name if not name or name in self._once_served else UNKNOWN_MODEL

    def _is_served(self, name: str) -> bool:
        return name in self._engine.info.names or name in self._engine.adapters

    def _forget_one(self) -> None:
        gone = next((name for name in self._once_served if not self._is_served(name)), None)
        if gone is None:
            return
        del self._once_served[gone]
        for metric in self._by_model:
            metric.remove_by_labels({"model": gone})


def _priority(context: RequestContext) -> str:
    return "interactive" if context.priority == INTERACTIVE else "batch"
