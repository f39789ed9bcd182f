"""What a run came to, said so that it cannot be taken for more: a score is the whole split's or has another name."""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import qwenvl
from qwenvl.evaluation.metrics.mme import Judged, mme_scores
from qwenvl.evaluation.results import Record, is_answered, read_records
from qwenvl.evaluation.settings import RunSettings
from qwenvl.evaluation.tasks.task import Flaw, Metric, Task

MOST_NAMED = 20
"""Flawed samples that a summary names; all are counted."""
_AS_THEY_ARE = (Metric.CIDER,)
"""Metrics whose scores of samples are not shares of one."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How it was run.

    Attributes:
        asked: samples of this run, not those of earlier ones.
        seconds: it took.
        official: samples that the official files speak of, where they say.
    """

    asked: int
    seconds: float
    official: int | None = None


@dataclass
class _Tally:
    """Counts over a file of results, which is read once and never held."""

    lines: int = 0
    answered: int = 0
    scored: int = 0
    total: float = 0.0
    flaws: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)
    groups: dict[str, list[float]] = field(default_factory=dict)

    def count(self, records: Iterable[Record]) -> Iterator[Record]:
        """Count them, and hand on those that have a score."""
        for record in records:
            self.lines += 1
            if not is_answered(record):
                self._note(record)
                continue
            self.answered += 1
            if record["score"] is not None:
                self.scored += 1
                self.total += record["score"]
                yield record

    def _note(self, record: Record) -> None:
        self.flaws[record["flaw"]] += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(_printable(f"{record['id']}: {record['message']}"))


def summarise(task: Task, settings: RunSettings, results: Path, ran: Ran) -> Mapping[str, Any]:
    """The summary of a file of results.

    ``score`` is null unless every sample of the split has one; over fewer it is ``score_of_covered``.
    """
    tally = _Tally()
    groups, score = _scores(task, tally, read_records(results))
    # A line that repeats another one takes nothing from the whole.
    of = max(tally.lines - tally.flaws[Flaw.DUPLICATE], 0 if settings.limit else ran.official or 0)
    # None at all has a score where the answers are not public; some of them would pass for all.
    complete = settings.limit is None and tally.answered == of > 0 and tally.scored in (0, of)
    return {
        "task": task.name,
        "title": task.title,
        "metric": str(task.metric),
        "score": score if complete else None,
        "score_of_covered": score,
        "covered": tally.answered,
        "of": of,
        "complete": complete,
        "scored": tally.scored,
        "flaws": dict(tally.flaws),
        "named": tally.named,
        "groups": groups,
        "published": dict(task.published),
        "note": task.note,
        "settings": dict(settings.shown()),
        "asked": ran.asked,
        "seconds": round(ran.seconds, 2),
        "per_second": round(ran.asked / ran.seconds, 2) if ran.seconds else None,
        "version": qwenvl.__version__,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _scores(task: Task, tally: _Tally, records: Iterable[Record]) -> tuple[dict[str, float], float | None]:
    scored = tally.count(records)
    if task.metric is Metric.MME:
        groups = mme_scores(
            Judged(record["extra"]["subtask"], record["extra"]["image"], record["score"] == 1) for record in scored
        )
        return groups, groups["perception"] + groups["cognition"] if tally.scored else None
    for record in scored:
        if task.metric is Metric.JUDGE:
            tally.groups.setdefault(record["extra"]["category"], []).append(100 * record["score"])
    means = {name: sum(values) / len(values) for name, values in sorted(tally.groups.items())}
    scale = 1 if task.metric in _AS_THEY_ARE else 100
    return means, scale * tally.total / tally.scored if tally.scored else None


def _printable(text: str) -> str:
    """On one line, and without what a terminal would obey: ids and messages come from elsewhere."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def write_summary(summary: Mapping[str, Any], folder: Path) -> None:
    path = folder / f"{summary['task']}.summary.json"
    written = path.with_suffix(".tmp")
    written.write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(written, path)


def read_summaries(folder: Path) -> list[dict[str, Any]]:
    """Those of a directory of results, by task."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.summary.json"))]


def in_words(summary: Mapping[str, Any]) -> str:
    """One line, and one more for each sample that is named."""
    score, covered = summary["score_of_covered"], f"{summary['covered']} of {summary['of']} samples"
    shown = f"{summary['metric']} {score:.2f}" if score is not None else "no score: the answers are not public"
    if score is None and not summary["covered"]:
        shown = "no score"
    line = f"{summary['task']}: {shown}, {covered}"
    if summary["settings"]["limit"] is not None:
        line += f" (the first {summary['settings']['limit']} alone)"
    elif not summary["complete"]:
        line += " (INCOMPLETE: this is not the score of the whole)"
    if summary["published"]:
        line += f"; published: {', '.join(f'{name} {value:g}' for name, value in summary['published'].items())}"
    flaws = [f"  {flaw}: {count}" for flaw, count in summary["flaws"].items()]
    return "\n".join([line, *flaws, *(f"  {name}" for name in summary["named"])])


def commit() -> str | None:
    """The commit of this code, where it runs from a checkout."""
    root = Path(qwenvl.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
