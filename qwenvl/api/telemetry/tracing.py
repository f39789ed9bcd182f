"""Traces, where an OTLP collector is set; else the trace context of clients is passed on to the engine as it came."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.datastructures import Headers

from qwenvl.errors import QwenVLError

if TYPE_CHECKING:
    from qwenvl.api.telemetry.otlp import OtlpTracer, RequestSpan

TRACE_HEADERS = ("traceparent", "tracestate")

AttributeValue = str | int | float


class PassedTrace:
    """A client's trace context, with no spans of the gateway's own."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def part(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def end(self, name: str, attributes: Mapping[str, AttributeValue], *, failed: bool) -> None:
        pass


class Tracing:
    """Makes the traces of one server.

    Args:
        endpoint: OTLP collector; None for no spans.
    """

    def __init__(self, endpoint: str | None) -> None:
        self._endpoint = endpoint
        self._tracer: OtlpTracer | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send spans during the block; those that are left are sent at its end, within a limit of time.

        Raises:
            QwenVLError: OpenTelemetry is not installed, or does not take the endpoint.
        """
        if self._endpoint is None:
            yield
            return
        self._tracer = tracer = _tracer(self._endpoint)
        try:
            yield
        finally:
            self._tracer = None
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(tracer.close)

    def begin(self, headers: Headers) -> "RequestSpan | PassedTrace":
        """The trace of a request with these headers; to be ended."""
        context = {name: value for name in TRACE_HEADERS if (value := headers.get(name)) is not None}
        if self._tracer is None:
            return PassedTrace(context)
        return self._tracer.begin(context)


def _tracer(endpoint: str) -> "OtlpTracer":
    try:
        # Imported here, since only who wants traces has it installed.
        from qwenvl.api.telemetry.otlp import OtlpTracer
    except ImportError as error:
        raise QwenVLError(
            f"otlp_endpoint needs OpenTelemetry, and {error.name} is not installed: pip install 'qwenvl[tracing]'"
        ) from error
    return OtlpTracer(endpoint)
