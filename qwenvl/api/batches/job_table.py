"""What the runner knows and notes of batches: their requests, the results, the status.

Every change is one transaction: a kill leaves no half.
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from qwenvl.api.batches.database import Database
from qwenvl.api.batches.files import insert_file
from qwenvl.api.batches.objects import ENDED, BatchStatus, FileObject, Problem, Problems

UNFINISHED = "status NOT IN ({})".format(", ".join(f"'{status}'" for status in ENDED))
"""In SQL."""


@dataclass(frozen=True, slots=True)
class Line:
    """Where a request stands in the input file: its line, counted from 1, and its bytes."""

    number: int
    custom_id: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Result:
    """A request's line of output, and the tokens it used."""

    succeeded: bool
    text: str
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """What the runner needs to know of a batch."""

    id: str
    owner: str
    endpoint: str
    input_file_id: str
    status: BatchStatus
    expires_at: int
    output_lifetime: int | None


class JobTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def unfinished(self) -> list[str]:
        query = f"SELECT id FROM batches WHERE {UNFINISHED} ORDER BY seq"
        return await self._database.run(lambda rows: [row["id"] for row in rows.execute(query)])

    async def job(self, batch_id: str) -> Job:
        columns = ", ".join(Job.__dataclass_fields__)
        query = f"SELECT {columns} FROM batches WHERE id = ?"
        return await self._database.run(lambda rows: Job(**rows.execute(query, (batch_id,)).fetchone()))

    async def begin(self, batch_id: str, lines: Sequence[Line]) -> None:
        """From validating to in progress."""

        def work(rows: sqlite3.Connection) -> None:
            if move_batch(rows, batch_id, "in_progress", since=("validating",)):
                rows.execute("UPDATE batches SET total = ? WHERE id = ?", (len(lines), batch_id))
                rows.executemany(
                    "INSERT INTO requests (batch_id, line, custom_id, start, length) VALUES (?, ?, ?, ?, ?)",
                    ((batch_id, line.number, line.custom_id, line.start, line.length) for line in lines),
                )

        await self._database.run(work)

    async def fail(self, batch_id: str, problems: Sequence[Problem]) -> None:
        """From validating to failed."""
        errors = Problems(data=list(problems)).model_dump_json()

        def work(rows: sqlite3.Connection) -> None:
            if move_batch(rows, batch_id, "failed", since=("validating",)):
                rows.execute("UPDATE batches SET errors = ? WHERE id = ?", (errors, batch_id))

        await self._database.run(work)

    async def move(self, batch_id: str, status: BatchStatus, *, since: BatchStatus) -> bool:
        """Change the status; False where it is no longer ``since``."""
        return await self._database.run(lambda rows: move_batch(rows, batch_id, status, since=(since,)))

    async def pending(self, batch_id: str, after: int, limit: int) -> list[Line]:
        """Requests without a result behind line ``after``, in order."""
        query = (
            "SELECT line, custom_id, start, length FROM requests "
            "WHERE batch_id = ? AND line > ? AND result IS NULL ORDER BY line LIMIT ?"
        )
        return await self._database.run(
            lambda rows: [Line(*row) for row in rows.execute(query, (batch_id, after, limit))]
        )

    async def results(self, batch_id: str, succeeded: bool, after: int, limit: int) -> list[tuple[int, str]]:
        """Results behind line ``after``: line and text, in order."""
        query = (
            "SELECT line, result FROM requests WHERE batch_id = ? AND line > ? AND succeeded = ? ORDER BY line LIMIT ?"
        )
        return await self._database.run(
            lambda rows: [(row[0], row[1]) for row in rows.execute(query, (batch_id, after, succeeded, limit))]
        )

    async def record(self, batch_id: str, line: int, result: Result) -> None:
        """Keep one request's result; it will not be run again."""

        def work(rows: sqlite3.Connection) -> None:
            changed = rows.execute(
                "UPDATE requests SET succeeded = ?, result = ? WHERE batch_id = ? AND line = ? AND result IS NULL",
                (result.succeeded, result.text, batch_id, line),
            ).rowcount
            rows.execute(
                "UPDATE batches SET completed = completed + ?, failed = failed + ?, input_tokens = input_tokens + ?, "
                "cached_tokens = cached_tokens + ?, output_tokens = output_tokens + ? WHERE id = ? AND ?",
                (
                    result.succeeded,
                    not result.succeeded,
                    result.input_tokens,
                    result.cached_tokens,
                    result.output_tokens,
                    batch_id,
                    changed,
                ),
            )

        await self._database.run(work)

    async def finish(self, job: Job, status: BatchStatus, output: FileObject | None, errors: FileObject | None) -> bool:
        """End a batch: its files become known and its results, which they hold, are let go.

        Returns:
            False where the status is no longer the job's, and nothing has changed.
        """

        def work(rows: sqlite3.Connection) -> bool:
            if not move_batch(rows, job.id, status, since=(job.status,)):
                return False
            for file in filter(None, (output, errors)):
                insert_file(rows, job.owner, file)
            rows.execute(
                "UPDATE batches SET output_file_id = ?, error_file_id = ? WHERE id = ?",
                (output and output.id, errors and errors.id, job.id),
            )
            rows.execute("DELETE FROM requests WHERE batch_id = ?", (job.id,))
            return True

        return await self._database.run(work)


def move_batch(rows: sqlite3.Connection, batch_id: str, status: BatchStatus, *, since: Sequence[BatchStatus]) -> bool:
    """Change the status where it is one of ``since``, and note when."""
    # A status names its column: none comes from outside.
    query = f"UPDATE batches SET status = ?, {status}_at = ? WHERE id = ? AND status IN ({', '.join('?' * len(since))})"
    return bool(rows.execute(query, (status, int(time.time()), batch_id, *since)).rowcount)
