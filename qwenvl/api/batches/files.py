"""Files and whose they are."""

import sqlite3
import time
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

import anyio
import anyio.to_thread

from qwenvl.api.batches.data_dir import DataDir
from qwenvl.api.batches.database import Database
from qwenvl.api.batches.errors import no_file
from qwenvl.api.batches.objects import ENDED, FileObject
from qwenvl.api.batches.schemas import FilesQuery
from qwenvl.errors import UserError

_CHUNK_BYTES = 256 * 1024
_ALIVE = "deleted = 0 AND (expires_at IS NULL OR expires_at > :now)"


class Files:
    """Their rows in the database, and their contents beside it. Others' files are not there, nor are expired ones."""

    def __init__(self, database: Database, data_dir: DataDir, max_files: int) -> None:
        self._database = database
        self._data_dir = data_dir
        self._max_files = max_files

    def content_path(self, file_id: str) -> Path:
        return self._data_dir.content(file_id)

    async def check_room(self, owner: str) -> None:
        """Raise where the owner has all the files a key may have.

        Raises:
            UserError: they have.
        """
        await self._database.run(lambda rows: self._check_room(rows, owner))

    async def add(self, owner: str, file: FileObject) -> None:
        """Make known a file whose content is in its place.

        Raises:
            UserError: the owner has as many as a key may have.
        """

        def work(rows: sqlite3.Connection) -> None:
            self._check_room(rows, owner)
            insert_file(rows, owner, file)

        await self._database.run(work)

    async def get(self, owner: str, file_id: str) -> FileObject:
        """One file.

        Raises:
            NotFoundError: the owner has none of this id.
        """
        return await self._database.run(lambda rows: find_file(rows, owner, file_id))

    async def page(self, owner: str, query: FilesQuery) -> tuple[list[FileObject], bool]:
        """Some files in the order of their creation, and whether there are more.

        Raises:
            UserError: ``after`` is no file of the owner's.
        """
        return await self._database.run(lambda rows: _page(rows, owner, query))

    async def delete(self, owner: str, file_id: str) -> None:
        """Forget a file; the content stays as long as an unfinished batch reads it.

        Raises:
            NotFoundError: the owner has none of this id.
        """

        def work(rows: sqlite3.Connection) -> None:
            find_file(rows, owner, file_id)
            rows.execute("UPDATE files SET deleted = 1 WHERE id = ?", (file_id,))

        await self._database.run(work)
        await self.sweep()

    async def size(self, file: FileObject) -> int:
        """Bytes to read.

        Raises:
            NotFoundError: the content is gone.
        """
        try:
            return (await anyio.Path(self.content_path(file.id)).stat()).st_size
        except FileNotFoundError as error:
            raise no_file(file.id) from error

    async def read(self, file: FileObject) -> AsyncGenerator[bytes]:
        """The content in pieces, to the end even where the file is deleted meanwhile."""
        # Closed without a thread: nothing may be awaited in a task that was cancelled.
        with await anyio.to_thread.run_sync(open, self.content_path(file.id), "rb") as content:
            while piece := await anyio.to_thread.run_sync(content.read, _CHUNK_BYTES):
                yield piece

    async def sweep(self) -> None:
        """Remove what was deleted or has expired, except for what a batch still reads."""
        gone = await self._database.run(_sweep)
        await anyio.to_thread.run_sync(self._data_dir.remove, gone)

    async def sweep_strays(self) -> None:
        """Remove contents without a row: of uploads and outputs that a killed server was at. Before any is begun."""
        known = await self._database.run(lambda rows: [row["id"] for row in rows.execute("SELECT id FROM files")])
        await anyio.to_thread.run_sync(self._data_dir.remove_all_but, known)

    async def discard(self, file_ids: Iterable[str]) -> None:
        """Remove contents that never became files."""
        await anyio.to_thread.run_sync(self._data_dir.remove, tuple(file_ids))

    def _check_room(self, rows: sqlite3.Connection, owner: str) -> None:
        count = f"SELECT count(*) FROM files WHERE owner = :owner AND {_ALIVE}"
        held = rows.execute(count, {"owner": owner, "now": time.time()}).fetchone()[0]
        if held >= self._max_files:
            raise UserError(
                f"You have {held} files, and the limit is {self._max_files}. Delete some.", code="too_many_files"
            )


def find_file(rows: sqlite3.Connection, owner: str, file_id: str) -> FileObject:
    """One file of the owner's.

    Raises:
        NotFoundError: there is none of this id.
    """
    query = f"SELECT * FROM files WHERE id = :id AND owner = :owner AND {_ALIVE}"
    row = rows.execute(query, {"id": file_id, "owner": owner, "now": time.time()}).fetchone()
    if row is None:
        raise no_file(file_id)
    return _file(row)


def insert_file(rows: sqlite3.Connection, owner: str, file: FileObject) -> None:
    rows.execute(
        "INSERT INTO files (id, owner, bytes, created_at, expires_at, filename, purpose) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (file.id, owner, file.bytes, file.created_at, file.expires_at, file.filename, file.purpose),
    )


def _page(rows: sqlite3.Connection, owner: str, query: FilesQuery) -> tuple[list[FileObject], bool]:
    beyond, direction = (">", "ASC") if query.order == "asc" else ("<", "DESC")
    conditions = ["owner = :owner", _ALIVE]
    if query.after is not None:
        conditions.append(f"seq {beyond} :after")
    if query.purpose is not None:
        conditions.append("purpose = :purpose")
    found = rows.execute(
        f"SELECT * FROM files WHERE {' AND '.join(conditions)} ORDER BY seq {direction} LIMIT :limit",
        {
            "owner": owner,
            "now": time.time(),
            "after": place_of(rows, "files", owner, query.after),
            "purpose": query.purpose,
            "limit": query.limit + 1,
        },
    ).fetchall()
    return [_file(row) for row in found[: query.limit]], len(found) > query.limit


def place_of(rows: sqlite3.Connection, table: str, owner: str, after: str | None) -> int | None:
    """Where a page starts.

    Raises:
        UserError: ``after`` is none of the owner's.
    """
    if after is None:
        return None
    row = rows.execute(f"SELECT seq FROM {table} WHERE id = ? AND owner = ?", (after, owner)).fetchone()
    if row is None:
        raise UserError("after must be the id of an object in the list.", param="after", code="invalid_value")
    return int(row["seq"])


def _sweep(rows: sqlite3.Connection) -> list[str]:
    ended = ", ".join(f"'{status}'" for status in ENDED)
    gone = f"NOT ({_ALIVE}) AND id NOT IN (SELECT input_file_id FROM batches WHERE status NOT IN ({ended}))"
    moment = {"now": time.time()}
    found = [row["id"] for row in rows.execute(f"SELECT id FROM files WHERE {gone}", moment)]
    rows.execute(f"DELETE FROM files WHERE {gone}", moment)
    return found


def _file(row: sqlite3.Row) -> FileObject:
    return FileObject(
        id=row["id"],
        bytes=row["bytes"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        filename=row["filename"],
        purpose=row["purpose"],
    )
