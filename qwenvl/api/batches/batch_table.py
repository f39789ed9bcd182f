"""Batches, as their owners see them."""

import json
import sqlite3
import time

from qwenvl.api.batches.database import Database
from qwenvl.api.batches.errors import NotCancellableError, NotFoundError, no_batch
from qwenvl.api.batches.files import find_file, place_of
from qwenvl.api.batches.job_table import UNFINISHED, move_batch
from qwenvl.api.batches.objects import (
    Batch,
    BatchUsage,
    InputTokensDetails,
    Problems,
    RequestCounts,
    new_id,
)
from qwenvl.api.batches.schemas import BatchesQuery, CreateBatch
from qwenvl.errors import UserError

WINDOW_SECONDS = 24 * 3600
MAX_UNFINISHED = 100
"""Most unfinished batches of one key."""


class BatchTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, owner: str, wire: CreateBatch) -> Batch:
        """A new batch, to be validated.

        Raises:
            UserError: the input is no file of the owner's, or too many of their batches are unfinished.
        """
        return await self._database.run(lambda rows: _create(rows, owner, wire))

    async def get(self, owner: str, batch_id: str) -> Batch:
        """One batch.

        Raises:
            NotFoundError: the owner has none of this id.
        """
        return await self._database.run(lambda rows: _find(rows, owner, batch_id))

    async def page(self, owner: str, query: BatchesQuery) -> tuple[list[Batch], bool]:
        """Some batches, the newest first, and whether there are more.

        Raises:
            UserError: ``after`` is no batch of the owner's.
        """

        def work(rows: sqlite3.Connection) -> tuple[list[Batch], bool]:
            after = place_of(rows, "batches", owner, query.after)
            found = rows.execute(
                "SELECT * FROM batches WHERE owner = :owner AND (:after IS NULL OR seq < :after) "
                "ORDER BY seq DESC LIMIT :limit",
                {"owner": owner, "after": after, "limit": query.limit + 1},
            ).fetchall()
            return [_batch(row) for row in found[: query.limit]], len(found) > query.limit

        return await self._database.run(work)

    async def cancel(self, owner: str, batch_id: str) -> tuple[Batch, bool]:
        """Let a batch be cancelled; one that is cancelling or cancelled already stays as it is.

        Returns:
            The batch, and whether it was changed.

        Raises:
            NotFoundError: the owner has none of this id.
            NotCancellableError: it has ended.
        """

        def work(rows: sqlite3.Connection) -> tuple[Batch, bool]:
            batch = _find(rows, owner, batch_id)
            if batch.status in ("cancelling", "cancelled"):
                return batch, False
            if not move_batch(rows, batch_id, "cancelling", since=("validating", "in_progress")):
                raise NotCancellableError(
                    f"The batch cannot be cancelled: it is {batch.status}.", code="batch_not_cancellable"
                )
            return _find(rows, owner, batch_id), True

        return await self._database.run(work)


def _create(rows: sqlite3.Connection, owner: str, wire: CreateBatch) -> Batch:
    try:
        file = find_file(rows, owner, wire.input_file_id)
    except NotFoundError as error:
        raise UserError(error.message, param="input_file_id", code=error.code) from None
    if file.purpose != "batch":
        raise UserError("input_file_id must be a file of purpose 'batch'.", param="input_file_id", code="invalid_value")
    query = f"SELECT count(*) FROM batches WHERE owner = ? AND {UNFINISHED}"
    if rows.execute(query, (owner,)).fetchone()[0] >= MAX_UNFINISHED:
        raise UserError(
            f"You have {MAX_UNFINISHED} unfinished batches, which is the limit. Wait for one to end, or cancel one.",
            code="too_many_batches",
        )
    batch_id, now = new_id("batch_"), int(time.time())
    metadata = None if wire.metadata is None else json.dumps(wire.metadata)
    lifetime = wire.output_expires_after.seconds if wire.output_expires_after else None
    rows.execute(
        "INSERT INTO batches (id, owner, endpoint, input_file_id, metadata, output_lifetime, status, created_at, "
        "expires_at) VALUES (?, ?, ?, ?, ?, ?, 'validating', ?, ?)",
        (batch_id, owner, wire.endpoint, file.id, metadata, lifetime, now, now + WINDOW_SECONDS),
    )
    return _find(rows, owner, batch_id)


def _find(rows: sqlite3.Connection, owner: str, batch_id: str) -> Batch:
    row = rows.execute("SELECT * FROM batches WHERE id = ? AND owner = ?", (batch_id, owner)).fetchone()
    if row is None:
        raise no_batch(batch_id)
    return _batch(row)


def _batch(row: sqlite3.Row) -> Batch:
    fields = {name: row[name] for name in row.keys() if name in Batch.model_fields}  # noqa: SIM118 - a row is no dict
    fields["errors"] = row["errors"] and Problems.model_validate_json(row["errors"])
    fields["metadata"] = row["metadata"] and json.loads(row["metadata"])
    fields["request_counts"] = RequestCounts(total=row["total"], completed=row["completed"], failed=row["failed"])
    fields["usage"] = BatchUsage(
        input_tokens=row["input_tokens"],
        input_tokens_details=InputTokensDetails(cached_tokens=row["cached_tokens"]),
        output_tokens=row["output_tokens"],
        total_tokens=row["input_tokens"] + row["output_tokens"],
    )
    return Batch(**fields)
