"""Figures of a run, from what its requests did."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.client import Outcome


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds."""

    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Percentiles | None":
        """Linear interpolation between the closest ranks; None for no values."""
        if not values:
            return None
        return cls(*(float(value) for value in np.percentile(values, [50, 90, 99])))


@dataclass(frozen=True, slots=True)
class Summary:
    """One server at one concurrency.

    Attributes:
        seconds: wall time, from the first request sent to the last answer read, summed over rounds.
        requests: sent; rates count those that succeeded only.
        prompt_tokens: mean of the requests that succeeded.
        errors: message to count.
    """

    server: str
    concurrency: int
    seconds: float
    requests: int
    requests_per_second: float
    output_tokens_per_second: float
    prompt_tokens: float
    completion_tokens: float
    ttft: Percentiles | None
    latency: Percentiles | None
    errors: dict[str, int]

    @property
    def n_errors(self) -> int:
        return sum(self.errors.values())


def summarize(server: str, concurrency: int, outcomes: Sequence[Outcome], seconds: float) -> Summary:
    good = [outcome for outcome in outcomes if outcome.error is None]
    return Summary(
        server=server,
        concurrency=concurrency,
        seconds=seconds,
        requests=len(outcomes),
        requests_per_second=len(good) / seconds,
        output_tokens_per_second=sum(outcome.completion_tokens for outcome in good) / seconds,
        prompt_tokens=_mean([outcome.prompt_tokens for outcome in good]),
        completion_tokens=_mean([outcome.completion_tokens for outcome in good]),
        ttft=Percentiles.of([outcome.ttft for outcome in good if outcome.ttft is not None]),
        latency=Percentiles.of([outcome.latency for outcome in good]),
        errors=dict(Counter(outcome.error for outcome in outcomes if outcome.error is not None)),
    )


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def markdown_table(summaries: Sequence[Summary]) -> str:
    """One row a summary; times in milliseconds."""
    rows = [
        "| server | concurrency | requests | errors | req/s | tok/s | prompt | TTFT p50 / p90 / p99 ms "
        "| latency p50 / p90 / p99 ms |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for s in summaries:
        rows.append(
            f"| {s.server} | {s.concurrency} | {s.requests} | {s.n_errors} | {s.requests_per_second:.2f} "
            f"| {s.output_tokens_per_second:.1f} | {s.prompt_tokens:.0f} | {_milliseconds(s.ttft)} "
            f"| {_milliseconds(s.latency)} |"
        )
    return "\n".join(rows)


def ratio_table(pairs: Sequence[tuple[Summary, Summary]]) -> str:
    """Each pair as ratios, first over second: rates above 1 and times below 1 are in favour of the first."""
    rows = [
        "| concurrency | req/s | tok/s | TTFT p50 | TTFT p99 | latency p50 | latency p99 |",
        "| --: | --: | --: | --: | --: | --: | --: |",
    ]
    for first, second in pairs:
        cells = [
            _ratio(first.requests_per_second, second.requests_per_second),
            _ratio(first.output_tokens_per_second, second.output_tokens_per_second),
        ]
        for one, other in ((first.ttft, second.ttft), (first.latency, second.latency)):
            cells += [_ratio(one.p50, other.p50), _ratio(one.p99, other.p99)] if one and other else ["-", "-"]
        rows.append(f"| {first.concurrency} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _ratio(first: float, second: float) -> str:
    return f"{first / second:.2f}" if second else "-"


def _milliseconds(percentiles: Percentiles | None) -> str:
    if percentiles is None:
        return "-"
    return " / ".join(f"{1000 * value:.0f}" for value in (percentiles.p50, percentiles.p90, percentiles.p99))
