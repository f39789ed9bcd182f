"""A batch's outcome as files: what succeeded in one, what failed in the other."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio.to_thread

from qwenvl.api.batches.contents import create, save, write
from qwenvl.api.batches.files import Files
from qwenvl.api.batches.job_table import Job, JobTable, Line
from qwenvl.api.batches.objects import BatchStatus, FileObject, OutputError, OutputLine, new_id

_ROWS = 100

NOT_RUN: dict[BatchStatus, OutputError] = {
    "expired": OutputError(
        code="batch_expired",
        message="This request could not be executed before the completion window expired.",
    ),
    "cancelled": OutputError(
        code="batch_cancelled",
        message="This request was not executed because the batch was cancelled.",
    ),
}
"""What becomes of requests without a result when a batch ends early."""


class OutputFiles:
    """Writes a batch's results, which stay in the database until the files are known."""

    def __init__(self, table: JobTable, files: Files) -> None:
        self._table = table
        self._files = files

    async def finish(self, job: Job, status: BatchStatus) -> None:
        """End the batch with this status, partial as its results may be; nothing where it has another one meanwhile.

        Raises:
            StorageFullError: there is no room. Nothing has changed.
        """
        output_id, errors_id = new_id("file-"), new_id("file-")
        try:
            output = await self._write(job, output_id, "output", self._results(job, succeeded=True))
            errors = await self._write(job, errors_id, "error", self._failures(job, status))
            known = await self._table.finish(job, status, output, errors)
        except Exception:
            # Where it is cancelled instead, the files may be known by now; if not, the next start removes them.
            await self._files.discard((output_id, errors_id))
            raise
        if not known:
            await self._files.discard((output_id, errors_id))

    async def _write(self, job: Job, file_id: str, kind: str, texts: AsyncGenerator[str]) -> FileObject | None:
        """The file of these lines, not known yet; None where there are no lines."""
        async with aclosing(texts):
            first = await anext(texts, None)
            if first is None:
                return None
            with await anyio.to_thread.run_sync(create, self._files.content_path(file_id)) as file:
                size = await anyio.to_thread.run_sync(write, file, first)
                async for text in texts:
                    size += await anyio.to_thread.run_sync(write, file, text)
                await anyio.to_thread.run_sync(save, file)
        now = int(time.time())
        return FileObject(
            id=file_id,
            bytes=size,
            created_at=now,
            expires_at=None if job.output_lifetime is None else now + job.output_lifetime,
            filename=f"{job.id}_{kind}.jsonl",
            purpose="batch_output",
        )

    async def _failures(self, job: Job, status: BatchStatus) -> AsyncGenerator[str]:
        async for text in self._results(job, succeeded=False):
            yield text
        if status not in NOT_RUN:
            return
        last = 0
        while lines := await self._table.pending(job.id, last, _ROWS):
            last = lines[-1].number
            yield "".join(_not_run(line, NOT_RUN[status]) for line in lines)

    async def _results(self, job: Job, *, succeeded: bool) -> AsyncGenerator[str]:
        last = 0
        while rows := await self._table.results(job.id, succeeded, last, _ROWS):
            last = rows[-1][0]
            yield "".join(text for _, text in rows)


def output_line(line: OutputLine) -> str:
    """One line of an output file."""
    # ASCII: some readers take U+2028 for the end of a line.
    return json.dumps(line.model_dump(mode="json")) + "\n"


def _not_run(line: Line, error: OutputError) -> str:
    return output_line(OutputLine(id=new_id("batch_req_"), custom_id=line.custom_id, response=None, error=error))
