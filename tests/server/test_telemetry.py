"""What the whole server says of itself: one form of log from every process, one trace from the client to the engine."""

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.api.chatting import CHAT
from tests.api.telemetry.collectors import attributes, http_collector
from tests.parity.golden import CHECKPOINT
from tests.server.processes import server_process

pytestmark = pytest.mark.slow


def test_json_logs_and_one_trace(tmp_path: Path) -> None:
    options = ["--port", "0", "--enforce-eager", "--kv-cache-memory-bytes", "256M", "--served-model-name", "golden"]
    with http_collector() as collected:
        telemetry = ["--log-format", "json", "--log-level", "debug", "--otlp-endpoint", collected.endpoint]
        command = ["qwenvl.cli", "serve", str(CHECKPOINT), *options, *telemetry]
        with server_process(command, tmp_path / "log") as server:
            url = server.wait_for(r"serving golden on (http://127\.0\.0\.1:\d+)/v1")[1]
            body = {"model": "golden", "messages": [{"role": "user", "content": "sesame"}], "max_tokens": 4}
            assert httpx.post(url + CHAT, json=body, timeout=60).status_code == 200
            assert server.stop() == 0
    # Compiled code, other packages and Python itself print as they please while the engine starts and stops.
    lines = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
    assert not re.search(r"^(\(\w+ pid=|DEBUG|INFO|WARNING|ERROR)", server.output, re.MULTILINE)
    assert all({"asctime", "levelname", "name", "process", "message"} <= line.keys() for line in lines)
    assert len({line["process"] for line in lines if line["name"].startswith("vllm")}) > 1
    assert "sesame" not in server.output

    ours = collected.named(f"POST {CHAT}")
    # The warm-up has a trace of its own.
    (engines,) = [span for span in collected.spans if span.name == "llm_request" and span.trace_id == ours.trace_id]
    assert engines.parent_span_id == ours.span_id
    assert attributes(engines)["gen_ai.usage.completion_tokens"] == attributes(ours)["gen_ai.usage.output_tokens"]
