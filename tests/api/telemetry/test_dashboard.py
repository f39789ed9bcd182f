"""Every metric on the Grafana dashboard exists."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.stack import Stack

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana" / "qwenvl.json"

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}

# Of vLLM 0.32, and of prometheus_client's own collectors, which come with vLLM's; the stack's test asks a real one.
ENGINE = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "vllm:inter_token_latency_seconds_bucket",
    "vllm:kv_cache_usage_perc",
    "vllm:mm_cache_hits_total",
    "vllm:mm_cache_queries_total",
    "vllm:num_preemptions_total",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:prefix_cache_hits_total",
    "vllm:prefix_cache_queries_total",
    "vllm:request_queue_time_seconds_bucket",
}


def expressions() -> Iterator[str]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def shown() -> set[str]:
    return {name for expression in expressions() for name in re.findall(r"([a-z_:]+)\{", expression)}


def exposed(text: str) -> set[str]:
    """Names of samples, also of those that no request has made yet."""
    return {
        family.name + suffix
        for family in text_string_to_metric_families(text)
        for suffix in SUFFIXES.get(family.type, ("",))
    }


async def test_the_gateways_are_exposed(client: httpx.AsyncClient) -> None:
    gateway = {name for name in shown() if name.startswith("qwenvl_")}
    own = exposed((await client.get("/metrics")).text)
    assert gateway <= own
    assert shown() - gateway == ENGINE


async def test_nothing_of_the_gateways_is_left_out(client: httpx.AsyncClient) -> None:
    exposed_names = exposed((await client.get("/metrics")).text)
    # prometheus_client's times of creation count as metrics of their own in this format.
    names = {re.sub("_(bucket|sum|count)$", "", name) for name in exposed_names if not name.endswith("_created")}
    assert {re.sub("_bucket$", "", name) for name in shown()} >= names - {"qwenvl_build_info"}


@pytest.mark.slow
def test_the_engines_are_exposed(stack: Stack) -> None:
    response = httpx.get(f"{stack.live.url}/metrics")
    assert response.status_code == 200
    families = [family.name for family in text_string_to_metric_families(response.text)]
    assert len(set(families)) == len(families)
    assert shown() <= exposed(response.text)


def test_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels)
