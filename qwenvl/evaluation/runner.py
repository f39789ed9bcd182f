"""One run over one task: so many requests at a time, each answer kept as it comes, and a summary in every case."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any

from qwenvl.errors import UserError
from qwenvl.evaluation.asking import Asker, flawed
from qwenvl.evaluation.client import Client, FailedError, UnreachableError
from qwenvl.evaluation.disk_table import DiskTable
from qwenvl.evaluation.judging import Judge
from qwenvl.evaluation.metrics.cider import cider, require_cider
from qwenvl.evaluation.progress import Bar, count_lines
from qwenvl.evaluation.results import Record, Results, is_answered
from qwenvl.evaluation.settings import RunSettings
from qwenvl.evaluation.shots import Shots
from qwenvl.evaluation.submissions import write_submission
from qwenvl.evaluation.summary import Ran, summarise, write_summary
from qwenvl.evaluation.tasks.reading import count_annotations, read_samples
from qwenvl.evaluation.tasks.task import Flaw, Flawed, Metric, Sample, Task

_FAILURES_IN_A_ROW = 16
"""So many, or one for each request in flight: what fails then is the server, and the rest is not asked."""


async def run_task(task: Task, settings: RunSettings, *, restart: bool = False) -> Mapping[str, Any]:
    """Ask what is not answered yet, write results, summary and submission: the summary.

    Raises:
        UserError: the task's files, or what its metric needs, are not there.
    """
    shots = Shots(task, settings.data, settings.shots, settings.seed)
    _require(task, settings)
    started = time.monotonic()
    results = Results(settings.output, task.name, settings.fingerprint(), restart=restart)
    try:
        asked = await _ask_all(task, settings, results, shots)
        official = count_annotations(task, settings.data)
    except BaseException:
        results.close()
        raise
    results.finish(lambda records: _corpus_scores(task, records))
    ran = Ran(asked=asked, seconds=time.monotonic() - started, official=official)
    summary = summarise(task, settings, results.path, ran)
    write_summary(summary, settings.output)
    if summary["complete"] and task.submission is not None:
        write_submission(task, results.path, settings)
    return summary


def _require(task: Task, settings: RunSettings) -> None:
    if task.metric is Metric.CIDER:
        require_cider()
    if task.metric is Metric.JUDGE and settings.judge is None:
        raise UserError(f"{task.name} is scored by a judge: give --judge-base-url and --judge-model")


async def _ask_all(task: Task, settings: RunSettings, results: Results, shots: Shots) -> int:
    total = count_lines(settings.data / task.samples)
    if settings.limit is not None:
        total = settings.limit if total is None else min(total, settings.limit)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(settings.server))
        judge = None
        if settings.judge is not None:
            judge = Judge(await stack.enter_async_context(Client(settings.judge)))
        asker = Asker(task, settings, client, judge, shots)
        bar = stack.enter_context(Bar(task.name, total))
        run = _Run(islice(read_samples(task, settings.data), settings.limit), results, asker, bar)
        run.gives_up_after = max(_FAILURES_IN_A_ROW, settings.concurrency)
        await _together(run, settings.concurrency)
    return run.asked


async def _together(run: "_Run", workers: int) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(run.work())
    except ExceptionGroup as failures:
        # One is enough to say, and what it was stopped all others.
        raise failures.exceptions[0] from failures


@dataclass
class _Run:
    """What the workers of one run share."""

    reader: Iterator[Sample | Flawed]
    results: Results
    asker: Asker
    bar: Bar
    asked: int = 0
    gives_up_after: int = _FAILURES_IN_A_ROW
    _failures: int = 0
    _gone: str = ""

    async def work(self) -> None:
        while (sample := self._next()) is not None:
            self.asked += 1
            self.results.add(await self._record(sample))
            self.bar.advance()

    def _next(self) -> Sample | None:
        """The next sample to ask; those that cannot be, or need not, are dealt with on the way."""
        for read in self.reader:
            if isinstance(read, Flawed):
                self.results.add(_of_flawed(read))
            elif self.results.is_done(read.id):
                pass
            elif self._gone:
                self.results.add(flawed(read, Flaw.NOT_ASKED, self._gone))
            else:
                return read
            self.bar.advance()
        return None

    async def _record(self, sample: Sample) -> Record:
        try:
            record = await self.asker.record(sample)
        except FailedError as error:
            self._failures += 1
            if isinstance(error, UnreachableError) or self._failures >= self.gives_up_after:
                self._gone = f"the server is gone: {error}"
            return flawed(sample, Flaw.FAILED, str(error))
        self._failures = 0
        return record


def _of_flawed(read: Flawed) -> Record:
    return {"index": read.index, "id": read.id, "flaw": str(read.flaw), "message": read.message}


def _corpus_scores(task: Task, records: DiskTable) -> Mapping[str, float]:
    """Scores, by place, of the metric that needs all captions to score one."""
    if task.metric is not Metric.CIDER:
        return {}
    answered = {place: record for place, text in records.items() if is_answered(record := json.loads(text))}
    predictions = {place: record["prediction"] for place, record in answered.items()}
    return cider(predictions, {place: record["target"] for place, record in answered.items()})
