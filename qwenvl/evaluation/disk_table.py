"""A table that is as large as it must be without taking memory: SQLite, in a file that vanishes with it."""

import sqlite3
from collections.abc import Iterator


class DiskTable:
    """Texts by text."""

    def __init__(self) -> None:
        # An empty name is a temporary file; its pages stay in memory only as far as the cache goes.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE entries (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")

    def add(self, key: str, value: str = "") -> bool:
        """Keep it, unless there is one of that key: whether there was none."""
        done = self._database.execute("INSERT OR IGNORE INTO entries VALUES (?, ?)", (key, value))
        return done.rowcount > 0

    def put(self, key: str, value: str) -> None:
        """Keep it, in place of any other of that key."""
        self._database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", (key, value))

    def get(self, key: str) -> str | None:
        row = self._database.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        return int(self._database.execute("SELECT COUNT(*) FROM entries").fetchone()[0])

    def items(self) -> Iterator[tuple[str, str]]:
        """All of it, by key."""
        yield from self._database.execute("SELECT key, value FROM entries ORDER BY key")

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> "DiskTable":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
