import asyncio
import json
import socket
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from qwenvl import __version__
from qwenvl.api import Settings
from qwenvl.api.telemetry.loop_lag import loop_lag_measured
from qwenvl.api.telemetry.metrics import CONTENT_TYPE, MOST_NAMES
from qwenvl.engine import AdapterSource
from qwenvl.engine.adapter_copy import CONFIG_FILE, WEIGHTS_FILE
from tests.api.chatting import CHAT, ask, body, image_part
from tests.api.live import PATIENCE, LiveServer, data_url, in_process
from tests.api.telemetry.scraping import label_values, read_samples, scrape, value
from tests.fake_engine import FakeEngine


class EngineWithMetrics(FakeEngine):
    def metrics(self) -> bytes:
        registry = CollectorRegistry()
        Counter("vllm:prompt_tokens", "As vLLM names its own.", ["model_name"], registry=registry).labels("tiny").inc(3)
        return generate_latest(registry)


async def test_requests_by_route_status_and_model(client: httpx.AsyncClient) -> None:
    await ask(client)
    await ask(client, model="alias/tiny")
    await client.post(CHAT, json=body(model="another"))
    await client.get("/v1/models/alias/tiny")
    samples = await scrape(client)
    total = "qwenvl_http_requests_total"
    assert value(samples, total, route=CHAT, status="200", model="tiny", method="POST") == 1
    assert value(samples, total, route=CHAT, status="200", model="alias/tiny") == 1
    assert value(samples, total, route=CHAT, status="404", model="unknown") == 1
    assert value(samples, total, route="/v1/models/{name}", status="200") == 1
    assert value(samples, "qwenvl_http_request_duration_seconds_count", route=CHAT, status="200") == 2
    assert value(samples, "qwenvl_errors_total", route=CHAT, code="model_not_found") == 1
    assert value(samples, "qwenvl_http_requests_in_flight") == 1  # this one
    assert value(samples, "qwenvl_build_info", version=__version__) == 1


async def test_labels_are_bounded_whatever_clients_send(client: httpx.AsyncClient) -> None:
    for name in ("one", "two", "x" * 300):
        await client.post(CHAT, json=body(model=name))
        await client.get(f"/v1/models/{name}")
        await client.get(f"/nothing/{name}")
        await client.request(name.upper(), "/v1/models")
    samples = await scrape(client)
    assert label_values(samples, "model") == {"", "unknown"}
    assert label_values(samples, "route") == {CHAT, "/v1/models", "/v1/models/{name}", "other"}
    assert label_values(samples, "method") == {"GET", "POST", "other"}


async def test_adapters_that_went_are_forgotten(tmp_path: Path) -> None:
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        (tmp_path / name).write_text('{"r": 8}')
    engine = FakeEngine(max_adapters=MOST_NAMES + 2)
    async with in_process(engine, Settings()) as client:
        for number in range(MOST_NAMES + 2):
            await engine.load_adapter(AdapterSource(f"a{number}", tmp_path))
            await ask(client, model=f"a{number}", max_tokens=2)
        served = {f"a{number}" for number in range(MOST_NAMES + 2)}
        # What is served is never forgotten.
        assert label_values(await scrape(client), "model") == served
        for number in (0, 5):
            await engine.unload_adapter(f"a{number}")
        await ask(client, model="tiny")
        assert label_values(await scrape(client), "model") == served - {"a0"} | {"tiny", ""}


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_and_their_times(client: httpx.AsyncClient, stream: bool) -> None:
    response = await client.post(
        CHAT,
        json=body(stream=stream, max_tokens=7, ignore_eos=True),
    )
    assert response.status_code == 200
    samples = await scrape(client)
    labels = {"route": CHAT, "model": "tiny", "priority": "interactive"}
    assert value(samples, "qwenvl_completion_tokens_total", **labels) == 7
    assert value(samples, "qwenvl_prompt_tokens_total", **labels) > 7
    assert value(samples, "qwenvl_time_to_first_token_seconds_count", **labels) == 1
    assert value(samples, "qwenvl_time_per_output_token_seconds_count", **labels) == 1
    assert value(samples, "qwenvl_queue_wait_seconds_count", priority="interactive") == 1


async def test_images_loaded_and_refused(client: httpx.AsyncClient, images: Path) -> None:
    picture = image_part(data_url((images / "a.png").read_bytes()))
    await ask(client, [picture, picture])
    await client.post(CHAT, json=body([image_part(data_url(b"no picture"))]))
    samples = await scrape(client)
    assert value(samples, "qwenvl_images_total", outcome="loaded") == 2
    assert value(samples, "qwenvl_images_total", outcome="refused") == 1
    assert value(samples, "qwenvl_image_load_seconds_count") == 2


async def test_errors_after_the_first_event_count(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.hold(after=3)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(client.post(CHAT, json=body(stream=True, ignore_eos=True)))
        await engine.until(lambda: engine.steps_taken == 3)
        await engine.die()
    assert asking.result().status_code == 200
    samples = await scrape(client)
    assert value(samples, "qwenvl_errors_total", route=CHAT, code="engine_dead") == 1
    assert value(samples, "qwenvl_completion_tokens_total", route=CHAT) == 3
    assert value(samples, "qwenvl_requests_rejected_total") == 0


async def test_rejections_by_reason() -> None:
    async with in_process(FakeEngine(capacity=0), Settings()) as client:
        assert (await client.post(CHAT, json=body())).status_code == 503
        samples = await scrape(client)
    assert value(samples, "qwenvl_requests_rejected_total", reason="engine_busy") == 1


async def test_the_queue_is_shown() -> None:
    engine = FakeEngine()
    engine.hold()
    async with in_process(engine, Settings(max_running=1)) as client, asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(client.post(CHAT, json=body()))
        await engine.until(lambda: engine.in_flight == 1)
        samples = await scrape(client)
        while value(samples, "qwenvl_requests_waiting") < 2:
            samples = await scrape(client)
        assert value(samples, "qwenvl_requests_running") == 1
        engine.release()


@pytest.mark.parametrize("stream", [False, True])
def test_clients_that_leave_count(live: LiveServer, engine: FakeEngine, stream: bool) -> None:
    live.call_soon(lambda: engine.hold(after=2))
    with httpx.Client(base_url=live.url) as http:
        with socket.create_connection(("127.0.0.1", live.port)) as leaving:
            content = json.dumps(body(stream=stream, ignore_eos=True)).encode()
            head = f"POST {CHAT} HTTP/1.1\r\nHost: api\r\nContent-Length: {len(content)}\r\n\r\n"
            leaving.sendall(head.encode() + content)
            live.call(engine.until(lambda: engine.steps_taken == 2))
        live.call(engine.until(lambda: bool(engine.aborted)))
        while not (left := value(read_samples(http.get("/metrics").text), "qwenvl_requests_aborted_total", route=CHAT)):
            pass
        assert left == 1
        samples = read_samples(http.get("/metrics").text)
    status = "200" if stream else "499"
    assert value(samples, "qwenvl_http_requests_total", route=CHAT, status=status, model="tiny") == 1
    assert value(samples, "qwenvl_completion_tokens_total", route=CHAT) == 2
    assert value(samples, "qwenvl_http_requests_in_flight") == 1


async def test_rate_limits_by_reason_and_keys_on_metrics() -> None:
    settings = Settings.model_validate({"api_keys": ("key",), "requests_per_minute": 1})
    async with in_process(FakeEngine(), settings) as client:
        assert (await client.get("/metrics")).status_code == 401
        client.headers["Authorization"] = "Bearer key"
        statuses = [(await client.post(CHAT, json=body())).status_code for _ in range(2)]
        assert statuses == [200, 429]
        samples = await scrape(client)
    assert value(samples, "qwenvl_requests_rejected_total", reason="rate_limit_exceeded") == 1
    assert value(samples, "qwenvl_errors_total", route="other", code="invalid_api_key") == 1


async def test_the_engines_metrics_follow() -> None:
    async with in_process(EngineWithMetrics(), Settings()) as client:
        response = await client.get("/metrics")
    assert response.headers["content-type"] == CONTENT_TYPE
    samples = read_samples(response.text)
    assert value(samples, "vllm:prompt_tokens_total", model_name="tiny") == 3
    assert value(samples, "qwenvl_build_info") == 1


async def test_each_app_counts_for_itself() -> None:
    async with in_process(FakeEngine(), Settings()) as one, in_process(FakeEngine(), Settings()) as other:
        await ask(one)
        assert value(await scrape(other), "qwenvl_http_requests_total") == 0


async def test_event_loop_lag_is_measured() -> None:
    seen: list[float] = []
    enough = asyncio.Event()

    def note(seconds: float) -> None:
        seen.append(seconds)
        if len(seen) == 3:
            enough.set()

    async with loop_lag_measured(note, interval=0.001):
        await asyncio.wait_for(enough.wait(), PATIENCE)
    assert all(seconds >= 0 for seconds in seen)
