"""Notes every request when it is over: in the metrics, the log, the trace."""

from time import perf_counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwenvl.api.context import context_in
from qwenvl.api.errors import CLIENT_CLOSED_REQUEST
from qwenvl.api.telemetry.logs import log_access
from qwenvl.api.telemetry.metrics import Metrics
from qwenvl.api.telemetry.record import Outcome, RequestRecord, working_on
from qwenvl.api.telemetry.tracing import AttributeValue, Tracing

NO_ROUTE = "other"
"""Route of requests that reached none of the API: turned away before, or of a path that there is not."""

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/responses": "chat",
    "/v1/grounding": "chat",
}
"""What OpenTelemetry's conventions call the routes that generate."""


class Telemetry:
    """Outermost, so that it sees how every request ends, whatever answers it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = self._tracing.begin(Headers(scope=scope))
        record = RequestRecord(trace=trace)
        exchange = _Exchange(receive, send)
        with self._metrics.in_flight(), working_on(record):
            try:
                await self._app(scope, exchange.receive, exchange.send)
            except Exception:
                exchange.failed = True
                record.error_code = record.error_code or "internal_error"
                raise
            finally:
                outcome = exchange.outcome(scope, record, self._metrics.model_label(record.model))
                client = scope["client"][0] if scope.get("client") else ""
                caller = context_in(scope).caller.name
                self._metrics.answered(record, outcome)
                log_access(record, outcome, caller=caller, client=client)
                attributes = _attributes(record, outcome) | {"client.address": client, "qwenvl.caller": caller}
                trace.end(f"{outcome.method} {outcome.route}", attributes, failed=outcome.status >= 500)


class _Exchange:
    """What goes over the wire, as far as it tells how a request ended."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._status = 0
        self._complete = False
        self._client_left = False
        self.failed = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._complete:
            self._client_left = True
        return message

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif not message.get("more_body", False):
            self._complete = True

    def outcome(self, scope: Scope, record: RequestRecord, model: str) -> Outcome:
        return Outcome(
            method=scope["method"],
            route=scope["route"].path_format if "route" in scope else NO_ROUTE,
            model=model,
            status=self._status or (500 if self.failed else CLIENT_CLOSED_REQUEST),
            aborted=self._client_left or self._status == CLIENT_CLOSED_REQUEST,
            duration=perf_counter() - record.started,
        )


def _attributes(record: RequestRecord, outcome: Outcome) -> dict[str, AttributeValue]:
    """Names by OpenTelemetry's semantic conventions, where there are any."""
    attributes: dict[str, AttributeValue] = {
        "http.request.method": outcome.method,
        "http.route": outcome.route,
        "http.response.status_code": outcome.status,
        "qwenvl.request_id": record.request_id,
    }
    if record.error_code is not None:
        attributes["error.type"] = record.error_code
    if outcome.route in OPERATIONS:
        attributes |= {
            "gen_ai.operation.name": OPERATIONS[outcome.route],
            "gen_ai.provider.name": "qwenvl",
            "gen_ai.request.model": outcome.model,
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.output_tokens": record.completion_tokens,
            "qwenvl.images": record.images,
        }
    return attributes
