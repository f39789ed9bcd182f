"""Closed-loop load on the HTTP API: each of ``--concurrency`` clients sends its next request when the last one ends.

    python -m benchmarks.serving --base-url http://127.0.0.1:8000 --concurrency 1,16,64 --images distinct

Answers run to ``--max-tokens`` (``ignore_eos``), so every run does the same work. With ``--pair`` a second server takes
the same requests, the two in turns, and ratios are printed.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from benchmarks import environment
from benchmarks.client import Outcome, Payload, timed_request
from benchmarks.summary import Summary, markdown_table, ratio_table, summarize
from benchmarks.workload import Workload, words_for_tokens

CALIBRATION_WORDS = (8, 72)


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load, as it named itself."""

    label: str
    client: httpx.AsyncClient
    model: str
    version: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much load, in which order.

    Attributes:
        requests: per server, level and round; at least one for each client.
        warmup: requests before each timed stretch, not counted.
        rounds: how often each server gets its share; with two servers they take turns.
    """

    levels: tuple[int, ...]
    requests: int
    warmup: int
    rounds: int


async def closed_loop(client: httpx.AsyncClient, payloads: Sequence[Payload], concurrency: int) -> list[Outcome]:
    """Send all ``payloads``, ``concurrency`` at a time."""
    remaining = iter(payloads)
    outcomes: list[Outcome] = []

    async def one_client() -> None:
        for payload in remaining:
            outcomes.append(await timed_request(client, payload))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(one_client())
    return outcomes


async def run_level(
    servers: Sequence[Server], workloads: Sequence[Workload], plan: Plan, concurrency: int, numbers: Iterator[int]
) -> list[Summary]:
    """All rounds at one concurrency; the requests of a round are new, and the same for each server."""
    outcomes: dict[str, list[Outcome]] = {server.label: [] for server in servers}
    seconds = dict.fromkeys(outcomes, 0.0)
    contenders = list(zip(servers, workloads, strict=True))
    count = max(plan.requests, concurrency)
    for number in range(plan.rounds):
        first = next(numbers)
        for server, workload in contenders if number % 2 == 0 else reversed(contenders):
            # A million numbers a round: no request of one round can be a cached one of another.
            payloads = workload.payloads(count + plan.warmup, start=first * 1_000_000)
            await closed_loop(server.client, payloads[count:], concurrency)
            start = time.perf_counter()
            outcomes[server.label] += await closed_loop(server.client, payloads[:count], concurrency)
            seconds[server.label] += time.perf_counter() - start
    return [summarize(label, concurrency, outcomes[label], seconds[label]) for label in outcomes]


async def connect(label: str, client: httpx.AsyncClient, model: str | None) -> Server:
    """Ask a server for its model and version.

    Raises:
        SystemExit: it does not answer.
    """
    try:
        models = (await client.get("/v1/models")).raise_for_status().json()["data"]
        version = await client.get("/version")
    except httpx.HTTPError as error:
        sys.exit(f"{client.base_url} does not answer: {error!r}")
    return Server(label, client, model or models[0]["id"], version.json() if version.is_success else {})


async def calibrate(server: Server, workload: Workload, prompt_tokens: int) -> int:
    """How many words make ``prompt_tokens`` on this server.

    Raises:
        SystemExit: the server refuses such requests.
        ValueError: the prompt cannot be that short.
    """
    measured = []
    for words in CALIBRATION_WORDS:
        trial = replace(workload, model=server.model, words=words, max_tokens=1)
        outcome = await timed_request(server.client, trial.payload(-words))
        if outcome.error:
            sys.exit(f"{server.label} refuses the workload: {outcome.error}")
        measured.append((words, outcome.prompt_tokens))
    return words_for_tokens(prompt_tokens, measured)


async def benchmark(args: argparse.Namespace) -> dict[str, Any]:
    """The whole run; returns the result file's content."""
    urls = [args.base_url, *([args.pair] if args.pair else [])]
    labels = [args.label, args.pair_label][: len(urls)]
    headers = {"Authorization": f"Bearer {args.api_key}"} if args.api_key else {}
    limits = httpx.Limits(max_connections=max(args.concurrency), max_keepalive_connections=max(args.concurrency))
    plan = Plan(args.concurrency, args.requests, args.warmup, args.rounds or (3 if args.pair else 1))
    template = Workload("", 1, args.max_tokens, args.images, args.image_size, not args.no_stream, args.seed)
    clients = [httpx.AsyncClient(base_url=u, headers=headers, limits=limits, timeout=args.timeout) for u in urls]
    try:
        servers = [await connect(label, client, args.model) for label, client in zip(labels, clients, strict=True)]
        words = await calibrate(servers[0], template, args.prompt_tokens)
        template = replace(template, words=words)
        workloads = [replace(template, model=server.model) for server in servers]
        numbers = iter(range(1, sys.maxsize))
        summaries = [
            summary
            for concurrency in plan.levels
            for summary in await run_level(servers, workloads, plan, concurrency, numbers)
        ]
    finally:
        for client in clients:
            await client.aclose()
    print_tables(summaries, len(servers))
    return {
        **environment.describe(),
        "settings": {**asdict(plan), **_settings(template), "prompt_tokens": args.prompt_tokens},
        "servers": [{"label": s.label, "model": s.model, "version": s.version} for s in servers],
        "results": [asdict(summary) for summary in summaries],
    }


def _settings(workload: Workload) -> dict[str, Any]:
    """All but the model, which each server has its own of."""
    settings = asdict(workload)
    del settings["model"]
    return settings


def print_tables(summaries: Sequence[Summary], n_servers: int) -> None:
    print(markdown_table(summaries))
    if n_servers == 2:
        print(f"\n{summaries[0].server} / {summaries[1].server}:\n")
        print(ratio_table(list(zip(summaries[::2], summaries[1::2], strict=True))))
    for summary in summaries:
        for message, count in summary.errors.items():
            print(f"{summary.server}, concurrency {summary.concurrency}: {count} x {message}", file=sys.stderr)


def _levels(text: str) -> tuple[int, ...]:
    levels = tuple(int(part) for part in text.split(","))
    if min(levels) < 1:
        raise argparse.ArgumentTypeError("concurrency starts at 1")
    return levels


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--base-url", default="http://127.0.0.1:8000", help="without /v1 (default: %(default)s)")
    add("--pair", metavar="BASE_URL", help="a second server that takes the same requests in turns")
    add("--model", help="default: the first that each server lists")
    add("--api-key")
    add("--concurrency", type=_levels, default=(1, 16, 64), metavar="N[,N...]", help="default: 1,16,64")
    add("--requests", type=int, default=64, help="per level and round, one a client at least (default: %(default)s)")
    add("--rounds", type=int, help="default: 1, with --pair 3")
    add("--warmup", type=int, default=4, help="untimed requests before each timed stretch (default: %(default)s)")
    add("--images", choices=("none", "same", "distinct"), default="none")
    add("--image-size", type=int, default=640, metavar="PIXELS", help="side of the pictures (default: %(default)s)")
    add("--prompt-tokens", type=int, default=512, help="pictures and template included (default: %(default)s)")
    add("--max-tokens", type=int, default=64, help="length of every answer (default: %(default)s)")
    add("--no-stream", action="store_true", help="ask for whole answers; there is no TTFT then")
    add("--seed", type=int, default=0)
    add("--timeout", type=float, default=600, help="seconds without a byte (default: %(default)s)")
    add("--label", default="qwenvl", help="the first server's name in the tables (default: %(default)s)")
    add("--pair-label", default="pair", help="the second server's (default: %(default)s)")
    add("--output", type=Path, metavar="FILE", help="write the figures, the machine and the settings as JSON")
    args = parser.parse_args(argv)
    if args.pair and args.pair_label == args.label:
        parser.error("--label and --pair-label must differ")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        result = asyncio.run(benchmark(args))
    except ValueError as error:
        sys.exit(str(error))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(any(level["errors"] for level in result["results"]))


if __name__ == "__main__":
    sys.exit(main())
