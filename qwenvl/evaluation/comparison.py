"""Two runs over the same samples: paired differences, and how sure they are."""

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qwenvl.errors import UserError
from qwenvl.evaluation.disk_table import DiskTable
from qwenvl.evaluation.results import Record, is_answered, read_records
from qwenvl.evaluation.tasks.catalogue import TASKS
from qwenvl.evaluation.tasks.task import Flaw, Metric

RESAMPLES = 10_000
CONFIDENCE = 0.95
_SEED = 0
_MOST_NUMBERS = 2_000_000
"""Counts drawn at a time."""


@dataclass
class Compared:
    """One task in both runs. Scores are those of summaries, over the samples that both have.

    Attributes:
        pairs: how many those are.
        difference: second minus first.
        low, high: 95 % of bootstrap resamples have their difference between these.
        wins, losses: samples that the second run, or the first, does better.
        unpaired: samples with a score in one run alone.
        unlike: samples of one id that were asked something else.
        without: samples that have no score, in whichever run has more of them.
    """

    task: str
    pairs: int = 0
    first: float = 0.0
    second: float = 0.0
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0
    wins: int = 0
    losses: int = 0
    unpaired: int = 0
    unlike: int = 0
    without: int = 0
    _differences: "array[float]" = field(default_factory=lambda: array("d"), repr=False)

    @property
    def is_whole(self) -> bool:
        return self.pairs > 0 and not self.unpaired and not self.unlike and not self.without


def compare_folders(first: Path, second: Path, tasks: Sequence[str] = ()) -> list[Compared]:
    """Compare each task that both directories of results have, or those named.

    Raises:
        UserError: they have no task in common, or lack one that was named.
    """
    names = list(tasks) or sorted(_tasks_in(first) & _tasks_in(second))
    if not names:
        raise UserError(f"{first} and {second} have results of no task in common")
    for name in names:
        for folder in (first, second):
            if not (folder / f"{name}.jsonl").is_file():
                raise UserError(f"{folder} has no finished results of {name}")
    return [compare(name, first / f"{name}.jsonl", second / f"{name}.jsonl") for name in names]


def _tasks_in(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.jsonl") if path.stem in TASKS}


def compare(task: str, first: Path, second: Path) -> Compared:
    """Compare two files of results of one task."""
    found = Compared(task)
    scale = 1.0 if TASKS[task].metric is Metric.CIDER else 100.0
    with DiskTable() as scores:
        for record in _scored(first):
            scores.put(record["id"], json.dumps([record["score"], _asked(record)]))
        unmatched = len(scores)
        for record in _scored(second):
            before = scores.get(record["id"])
            unmatched -= before is not None
            _pair(found, before, record, scale)
    found.unpaired += unmatched
    found.pairs = len(found._differences)
    found.without = max(map(_without_score, (first, second)))
    if found.pairs:
        found.first, found.second = found.first / found.pairs, found.second / found.pairs
        found.difference = found.second - found.first
        found.low, found.high = bootstrap(found._differences)
    return found


def _scored(path: Path) -> Iterator[Record]:
    return (record for record in read_records(path) if is_answered(record) and record["score"] is not None)


def _without_score(path: Path) -> int:
    """Samples of a run that have none; a line that repeats another is no sample."""
    return sum(
        record["score"] is None if is_answered(record) else record["flaw"] != Flaw.DUPLICATE
        for record in read_records(path)
    )


def _asked(record: Record) -> str:
    return json.dumps([record["images"], record["question"], record["target"]], sort_keys=True)


def _pair(found: Compared, before: str | None, record: Record, scale: float) -> None:
    if before is None:
        found.unpaired += 1
        return
    score, asked = json.loads(before)
    if asked != _asked(record):
        found.unlike += 1
        return
    difference = scale * (record["score"] - score)
    found.first += scale * score
    found.second += scale * record["score"]
    found.wins += difference > 0
    found.losses += difference < 0
    found._differences.append(difference)


def bootstrap(differences: Sequence[float], resamples: int = RESAMPLES) -> tuple[float, float]:
    """The interval that holds the mean of 95 % of resamples of as many pairs, drawn with replacement."""
    values, counts = np.unique(np.asarray(differences, np.float64), return_counts=True)
    rng = np.random.default_rng(_SEED)
    total = int(counts.sum())
    # Equal differences are drawn together, as a count: most metrics have few values.
    at_a_time = max(1, _MOST_NUMBERS // len(values))
    means = [
        rng.multinomial(total, counts / total, size=min(at_a_time, resamples - start)) @ values / total
        for start in range(0, resamples, at_a_time)
    ]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return float(low), float(high)


def table(found: Sequence[Compared]) -> str:
    """Markdown, with a line for what could not be paired."""
    lines = [
        "| task | pairs | A | B | B - A | 95 % | B better | A better |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for one in found:
        interval = f"{one.low:+.2f} to {one.high:+.2f}"
        cells = (one.task, one.pairs, f"{one.first:.2f}", f"{one.second:.2f}", f"{one.difference:+.2f}", interval)
        lines.append(f"| {' | '.join(map(str, (*cells, one.wins, one.losses)))} |")
    for one in found:
        if not one.is_whole:
            lines.append(
                f"\n{one.task} is not compared whole: {one.unpaired} samples have a score in one run alone, "
                f"{one.unlike} were asked something else, {one.without} have none"
            )
    return "\n".join(lines)
