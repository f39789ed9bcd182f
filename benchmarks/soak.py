"""Many streams at a time, for long: what is dropped, how far the event loop lags, whether memory grows.

    python -m benchmarks.soak --base-url http://127.0.0.1:8000 --pid 1234 --streams 500 --requests 10000

The lag is the server's own histogram on ``/metrics``; memory is that of the server's process and of its children.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import environment
from benchmarks.client import Outcome
from benchmarks.serving import closed_loop
from benchmarks.summary import summarize
from benchmarks.workload import Workload

LAG = "qwenvl_event_loop_lag_seconds"
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Stretch:
    """A tenth, or so, of the requests.

    Attributes:
        requests: sent until its end, over all stretches.
        server_mib: resident memory of the server's process at its end; None without ``--pid``.
        children_mib: of the processes it started.
        lag_p50: seconds; the upper bound of the histogram's bucket that the share of ticks falls in.
        lag_max: seconds; upper bound of the highest bucket with a tick in it.
    """

    requests: int
    dropped: int
    requests_per_second: float
    output_tokens_per_second: float
    ttft_p50: float | None
    ttft_p99: float | None
    lag_p50: float | None
    lag_p99: float | None
    lag_max: float | None
    server_mib: float | None
    children_mib: float | None


async def soak(args: argparse.Namespace) -> tuple[list[Stretch], Stretch]:
    """Run all stretches, one after the other, and print each as it ends, then all of them as one."""
    headers = {"Authorization": f"Bearer {args.api_key}"} if args.api_key else {}
    limits = httpx.Limits(max_connections=args.streams + 1, max_keepalive_connections=args.streams + 1)
    stretches: list[Stretch] = []
    everything: list[Outcome] = []
    seconds_in_all = 0.0
    async with httpx.AsyncClient(base_url=args.base_url, headers=headers, limits=limits, timeout=args.timeout) as http:
        model = args.model or (await http.get("/v1/models")).raise_for_status().json()["data"][0]["id"]
        workload = Workload(model, args.words, args.max_tokens, args.images)
        size = max(args.streams, args.requests // args.stretches)
        print(HEAD)
        first = await lag_buckets(http)
        for start in range(0, args.requests, size):
            before = await lag_buckets(http)
            # Distinct pictures are made here: outside of the timed part, and thrown away after it.
            payloads = workload.payloads(min(size, args.requests - start), start=start)
            began = time.perf_counter()
            outcomes = await closed_loop(http, payloads, args.streams)
            seconds = time.perf_counter() - began
            lag = ticks_between(before, await lag_buckets(http))
            stretches.append(describe(start + len(payloads), outcomes, seconds, lag, args.pid))
            print(row(stretches[-1]), flush=True)
            for outcome in outcomes:
                if outcome.error is not None:
                    print(outcome.error, file=sys.stderr)
            everything += outcomes
            seconds_in_all += seconds
        lag = ticks_between(first, await lag_buckets(http))
        whole = describe(args.requests, everything, seconds_in_all, lag, args.pid)
        print(row(whole, "all"))
    return stretches, whole


async def lag_buckets(http: httpx.AsyncClient) -> dict[float, float]:
    """Upper bound in seconds to ticks at most so late, as ``/metrics`` has them; empty where it has none."""
    response = await http.get("/metrics")
    if not response.is_success:
        return {}
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(response.text)
        if family.name == LAG
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }


def ticks_between(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    """The histogram of what came between two readings, still cumulative."""
    return {bound: count - before.get(bound, 0.0) for bound, count in after.items()}


def bound_of(buckets: Mapping[float, float], share: float) -> float | None:
    """The least bound that ``share`` of the ticks keep to."""
    total = max(buckets.values(), default=0.0)
    if not total:
        return None
    return min(bound for bound, count in buckets.items() if count >= share * total)


def describe(
    requests: int, outcomes: Sequence[Outcome], seconds: float, lag: Mapping[float, float], pid: int | None
) -> Stretch:
    summary = summarize("", 0, outcomes, seconds)
    return Stretch(
        requests=requests,
        dropped=summary.n_errors,
        requests_per_second=summary.requests_per_second,
        output_tokens_per_second=summary.output_tokens_per_second,
        ttft_p50=summary.ttft.p50 if summary.ttft else None,
        ttft_p99=summary.ttft.p99 if summary.ttft else None,
        lag_p50=bound_of(lag, 0.5),
        lag_p99=bound_of(lag, 0.99),
        lag_max=bound_of(lag, 1.0),
        server_mib=memory_mib([psutil.Process(pid)]) if pid else None,
        children_mib=memory_mib(psutil.Process(pid).children(recursive=True)) if pid else None,
    )


def memory_mib(processes: Sequence[psutil.Process]) -> float:
    """Resident memory of all of them, in MiB."""
    return sum(process.memory_info().rss for process in processes) / MEBIBYTE


HEAD = (
    "| requests | dropped | req/s | tok/s | TTFT p50 / p99 ms | loop lag p50 / p99 / max ms | server MiB "
    "| children MiB |\n| --: | --: | --: | --: | --: | --: | --: | --: |"
)


def row(stretch: Stretch, name: str | None = None) -> str:
    ttft = f"{_milliseconds(stretch.ttft_p50)} / {_milliseconds(stretch.ttft_p99)}"
    lag = " / ".join(_milliseconds(value) for value in (stretch.lag_p50, stretch.lag_p99, stretch.lag_max))
    return (
        f"| {name or stretch.requests} | {stretch.dropped} | {stretch.requests_per_second:.1f} "
        f"| {stretch.output_tokens_per_second:.0f} | {ttft} | {lag} | {_whole(stretch.server_mib)} "
        f"| {_whole(stretch.children_mib)} |"
    )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.0f}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--base-url", default="http://127.0.0.1:8000", help="without /v1 (default: %(default)s)")
    add("--pid", type=int, help="the server's process, for its memory")
    add("--model", help="default: the first that the server lists")
    add("--api-key")
    add("--streams", type=int, default=500, help="at a time (default: %(default)s)")
    add("--requests", type=int, default=10_000, help="in all (default: %(default)s)")
    add("--stretches", type=int, default=10, help="rows of the table (default: %(default)s)")
    add("--words", type=int, default=32, help="length of each prompt's text (default: %(default)s)")
    add("--max-tokens", type=int, default=16, help="length of every answer (default: %(default)s)")
    add("--images", choices=("none", "same", "distinct"), default="none")
    add("--timeout", type=float, default=600, help="seconds without a byte (default: %(default)s)")
    add("--output", type=Path, metavar="FILE", help="write the figures, the machine and the settings as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 1 where anything was dropped."""
    args = parse_args(argv)
    stretches, whole = asyncio.run(soak(args))
    if args.output:
        settings: dict[str, Any] = {k: v for k, v in vars(args).items() if k not in ("api_key", "output", "pid")}
        figures = {"results": [asdict(stretch) for stretch in stretches], "all": asdict(whole)}
        result = {**environment.describe(), "settings": settings, **figures}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(whole.dropped > 0)


if __name__ == "__main__":
    sys.exit(main())
