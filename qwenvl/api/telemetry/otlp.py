"""Spans over OTLP, by OpenTelemetry's SDK. Imported only where a collector is set."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from qwenvl import __version__
from qwenvl.api.telemetry.collector import GRPC, read_collector
from qwenvl.api.telemetry.tracing import AttributeValue

EXPORT_SECONDS = 5.0
"""For one export with its retries, and for the last ones when the server stops."""

_PROPAGATOR = TraceContextTextMapPropagator()


class OtlpTracer:
    """Makes spans and sends them in batches, from a thread of its own.

    What the environment says of sampling, resources, headers and certificates (``OTEL_*``) holds.

    Args:
        endpoint: as ``http://collector:4317`` for gRPC or ``http://collector:4318`` for HTTP.

    Raises:
        QwenVLError: not such a URL, or a protocol that is neither.
    """

    def __init__(self, endpoint: str) -> None:
        self._exporter = _exporter(endpoint)
        own = Resource.create({"service.name": "qwenvl", "service.version": __version__})
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("qwenvl", __version__)

    def begin(self, context: Mapping[str, str]) -> "RequestSpan":
        """A server span below the one in ``context``, W3C headers that may be empty or malformed."""
        parent = _PROPAGATOR.extract(context)
        return RequestSpan(self._tracer, self._tracer.start_span("HTTP", parent, SpanKind.SERVER))

    def close(self) -> None:
        """Send what is left, for ``EXPORT_SECONDS`` at most."""
        # The SDK's own limit is 30 seconds, and cannot be set from outside.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(EXPORT_SECONDS)
        if closing.is_alive():
            self._exporter.shutdown()


class RequestSpan:
    """The span of one HTTP request.

    Its children are named explicitly, not found through a context variable: streams are read and closed by different
    tasks.
    """

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span)
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self._context)
        self.headers: Mapping[str, str] = carrier

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A child span; it fails with the block, and says of the exception its type alone."""
        span = self._tracer.start_span(name, self._context)
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()

    def end(self, name: str, attributes: Mapping[str, AttributeValue], *, failed: bool) -> None:
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def _exporter(endpoint: str) -> SpanExporter:
    collector = read_collector(endpoint)
    exporter = GrpcExporter if collector.protocol == GRPC else HttpExporter
    return exporter(collector.url, timeout=EXPORT_SECONDS)
