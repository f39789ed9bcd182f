"""SQLite in a thread of its own, one transaction at a time."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from qwenvl.api.batches.errors import StorageFullError

T = TypeVar("T")

_VERSION = 1

# seq is the order of creation: several files can have the same second.
_SCHEMA = """
CREATE TABLE files (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX files_of_owner ON files (owner, seq);
CREATE TABLE batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    input_file_id TEXT NOT NULL,
    metadata TEXT,
    output_lifetime INTEGER,
    status TEXT NOT NULL,
    errors TEXT,
    output_file_id TEXT,
    error_file_id TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    in_progress_at INTEGER,
    finalizing_at INTEGER,
    completed_at INTEGER,
    failed_at INTEGER,
    expired_at INTEGER,
    cancelling_at INTEGER,
    cancelled_at INTEGER,
    total INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX batches_of_owner ON batches (owner, seq);
CREATE TABLE requests (
    batch_id TEXT NOT NULL,
    line INTEGER NOT NULL,
    custom_id TEXT NOT NULL,
    start INTEGER NOT NULL,
    length INTEGER NOT NULL,
    succeeded INTEGER,
    result TEXT,
    PRIMARY KEY (batch_id, line)
) WITHOUT ROWID;
"""


class Database:
    """One connection. Committed work survives the process; a power cut may cost the last moments, never the rest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches-database")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file, or make it.

        Raises:
            OSError: it cannot be made.
            sqlite3.Error: it is no database, or one of another version.
        """
        await self._in_thread(self._open)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of ``work``, in a transaction. A caller that is cancelled does not undo it.

        Raises:
            StorageFullError: there is no room.
        """
        try:
            return await self._in_thread(lambda: self._transaction(work))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFullError from error
            raise

    async def close(self) -> None:
        """Close what was opened, or not."""
        if self._connection is not None:
            await self._in_thread(self._connection.close)
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        rows = self._connection
        assert rows is not None
        rows.execute("BEGIN IMMEDIATE")
        # Commits, or rolls back what raised.
        with rows:
            return work(rows)

    def _open(self) -> None:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise sqlite3.DatabaseError(f"the database has version {version}, not {_VERSION}")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
