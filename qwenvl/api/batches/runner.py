"""Working off the batches behind everyone who waits for an answer."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import Context

import anyio.to_thread

from qwenvl.api.batches.errors import StorageFullError
from qwenvl.api.batches.execution import Execution
from qwenvl.api.batches.files import Files
from qwenvl.api.batches.input_file import InputReader
from qwenvl.api.batches.job_table import Job, JobTable, Line
from qwenvl.api.batches.objects import ENDED, Problem
from qwenvl.api.batches.output_files import OutputFiles
from qwenvl.api.gateway import Gateway
from qwenvl.api.settings import Settings
from qwenvl.errors import EngineDeadError

logger = logging.getLogger(__name__)

_ROWS = 100
_STORAGE_WAIT = 10.0

_STORAGE_TROUBLE = (StorageFullError, sqlite3.Error, OSError)


class Runner:
    """A task for each unfinished batch, and ``batch_concurrency`` slots for the requests of all.

    A task does the next thing that the batch's row asks for, and can be ended and begun anew at any time: that is how a
    batch is cancelled, and how it outlives the server.
    """

    def __init__(self, gateway: Gateway, table: JobTable, files: Files, execution: Execution) -> None:
        self._gateway = gateway
        self._table = table
        self._files = files
        self._execution = execution
        self._outputs = OutputFiles(table, files)
        # Semaphores are first come, first served, and each batch has at most one request in line for a slot: so
        # batches take turns.
        self._slots = asyncio.Semaphore(_slots(gateway.settings))
        self._validation = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def resume(self) -> None:
        """Go on with what the last server left."""
        for batch_id in await self._table.unfinished():
            self.start(batch_id)

    def start(self, batch_id: str) -> None:
        # A context of its own: not that of the request which made the batch.
        task = asyncio.create_task(self._work(batch_id), name=batch_id, context=Context())
        self._tasks[batch_id] = task
        task.add_done_callback(lambda done: self._forget(batch_id, done))

    async def restart(self, batch_id: str) -> None:
        """Have another look at a batch whose row has changed."""
        await self._stop([task for task in (self._tasks.get(batch_id),) if task])
        if batch_id not in self._tasks:
            self.start(batch_id)

    async def stop(self) -> None:
        """End all work; what is unfinished stays so."""
        await self._stop(list(self._tasks.values()))

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, batch_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(batch_id) is task:
            del self._tasks[batch_id]

    async def _work(self, batch_id: str) -> None:
        try:
            while not await self._has_ended(batch_id):
                pass
            await self._files.sweep()
        except* EngineDeadError:
            logger.warning("batch %s waits for the next start: the engine has stopped", batch_id)
        except* Exception:
            logger.exception("batch %s failed unexpectedly, and waits for the next start", batch_id)

    async def _has_ended(self, batch_id: str) -> bool:
        """Take the batch on by one status, if it has not ended."""
        ended = False
        try:
            job = await self._table.job(batch_id)
            ended = job.status in ENDED
            if not ended:
                await self._advance(job)
        except* _STORAGE_TROUBLE as trouble:
            logger.error("batch %s is paused for %g s: %s", batch_id, _STORAGE_WAIT, trouble.exceptions[0])
            await asyncio.sleep(_STORAGE_WAIT)
        return ended

    async def _advance(self, job: Job) -> None:
        if job.status == "validating":
            async with self._validation:
                await self._validate(job)
        elif job.status == "in_progress":
            try:
                async with asyncio.timeout(max(0.0, job.expires_at - time.time())):
                    await self._process(job)
            except TimeoutError:
                await self._outputs.finish(job, "expired")
            else:
                await self._table.move(job.id, "finalizing", since="in_progress")
        elif job.status == "finalizing":
            await self._outputs.finish(job, "completed")
        elif job.status == "cancelling":
            await self._outputs.finish(job, "cancelled")

    async def _validate(self, job: Job) -> None:
        reader = InputReader(job.endpoint, self._gateway.settings.max_body_bytes)
        try:
            await anyio.to_thread.run_sync(reader.read, self._files.content_path(job.input_file_id))
        except FileNotFoundError:
            reader.problems.append(Problem(code="file_not_found", line=None, message="The file is gone.", param=None))
        if reader.problems:
            await self._table.fail(job.id, reader.problems)
        else:
            await self._table.begin(job.id, reader.lines)

    async def _process(self, job: Job) -> None:
        """Run what has no result yet."""
        async with asyncio.TaskGroup() as running, aclosing(self._pending(job)) as lines:
            async for line in lines:
                await self._slots.acquire()
                # Released by a callback: a task that is cancelled before it runs gets to no block of its own.
                running.create_task(self._run(job, line)).add_done_callback(lambda _: self._slots.release())

    async def _pending(self, job: Job) -> AsyncGenerator[Line]:
        last = 0
        while lines := await self._table.pending(job.id, last, _ROWS):
            for line in lines:
                yield line
            last = lines[-1].number

    async def _run(self, job: Job, line: Line) -> None:
        result = await self._execution.run(job, line, self._files.content_path(job.input_file_id))
        await self._table.record(job.id, line.number, result)


def _slots(settings: Settings) -> int:
    """Requests of batches in work at a time: those wait behind all others, and leave them a place besides."""
    return max(1, min(settings.batch_concurrency, settings.max_running - 1))
