import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from qwenvl.api import Settings
from qwenvl.errors import QwenVLError
from tests.api.chatting import CHAT, ask, body, image_part, text_part
from tests.api.live import data_url, in_process
from tests.api.telemetry.collectors import Collected, attributes, grpc_collector, http_collector
from tests.fake_engine import FakeEngine

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.mark.parametrize("collector", [http_collector, grpc_collector])
@pytest.mark.parametrize("stream", [False, True])
async def test_spans_of_a_request(
    collector: Callable[[], AbstractContextManager[Collected]], stream: bool, engine: FakeEngine, images: Path
) -> None:
    with collector() as collected:
        async with in_process(engine, Settings(otlp_endpoint=collected.endpoint)) as client:
            parts = [text_part("my secret"), image_part(data_url((images / "a.png").read_bytes()))]
            headers = {"traceparent": TRACEPARENT, "x-request-id": "mine"}
            response = await client.post(
                CHAT, json=body(parts, stream=stream, max_tokens=3, ignore_eos=True), headers=headers
            )
            assert response.status_code == 200
    span = collected.named(f"POST {CHAT}")
    assert span.kind == Span.SPAN_KIND_SERVER
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    found = attributes(span)
    assert found["http.request.method"] == "POST"
    assert found["http.route"] == CHAT
    assert found["http.response.status_code"] == 200
    assert found["gen_ai.request.model"] == "tiny"
    assert found["gen_ai.usage.output_tokens"] == 3
    assert found["qwenvl.images"] == 1
    assert found["qwenvl.request_id"] == "mine"
    for name in ("admission", "images", "generate"):
        part = collected.named(name)
        assert (part.trace_id, part.parent_span_id) == (span.trace_id, span.span_id)
        assert span.start_time_unix_nano <= part.start_time_unix_nano
        assert part.end_time_unix_nano <= span.end_time_unix_nano
    assert engine.requests[0].trace_headers["traceparent"] == f"00-{TRACE_ID}-{span.span_id.hex()}-01"
    assert "secret" not in str(collected.requests)
    assert "iVBOR" not in str(collected.requests)


async def test_failures_are_marked_and_tell_nothing(engine: FakeEngine) -> None:
    with http_collector() as collected:
        async with in_process(engine, Settings(otlp_endpoint=collected.endpoint)) as client:
            await client.post(CHAT, json=body([text_part("refuse me")]))
            await engine.die()
            await client.post(CHAT, json=body("my secret"))
    refused, dead = [span for span in collected.spans if span.name == f"POST {CHAT}"]
    assert refused.status.code == Status.STATUS_CODE_UNSET
    assert attributes(refused)["error.type"] == "refused"
    assert dead.status.code == Status.STATUS_CODE_ERROR
    assert attributes(dead)["error.type"] == "engine_dead"
    assert not dead.events
    assert "me" not in str(refused.attributes).split()
    assert "secret" not in str(collected.requests)


async def test_clients_decide_about_their_traces() -> None:
    with http_collector() as collected:
        async with in_process(FakeEngine(), Settings(otlp_endpoint=collected.endpoint)) as client:
            await client.get("/v1/models", headers={"traceparent": TRACEPARENT.removesuffix("1") + "0"})
    assert not collected.spans


async def test_a_broken_traceparent_starts_a_new_trace() -> None:
    with http_collector() as collected:
        async with in_process(FakeEngine(), Settings(otlp_endpoint=collected.endpoint)) as client:
            assert (await client.get("/v1/models", headers={"traceparent": "x" * 1000})).status_code == 200
    assert not collected.named("GET /v1/models").parent_span_id


async def test_without_a_collector_the_context_is_passed_on(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await ask(client)
    headers = {"traceparent": TRACEPARENT, "tracestate": "a=b"}
    await client.post(CHAT, json=body(), headers=headers)
    assert [dict(request.trace_headers) for request in engine.requests] == [{}, headers]


async def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
    monkeypatch.delitem(sys.modules, "qwenvl.api.telemetry.otlp", raising=False)
    monkeypatch.setitem(sys.modules, exporter, None)
    with pytest.raises(QwenVLError, match=r"pip install 'qwenvl\[tracing\]'"):
        async with in_process(FakeEngine(), Settings(otlp_endpoint="http://127.0.0.1:4317")):
            pass
