"""The directory of files and batches: one server's at a time."""

import fcntl
import os
from collections.abc import Collection
from pathlib import Path

from qwenvl.api.batches.errors import BatchesUnavailableError

DATABASE = "batches.sqlite3"

_HELD = "Files and batches are not available here: another server holds their directory. Ask that server."
_BROKEN = "Files and batches are not available: the server cannot use their directory."


def default_data_dir() -> Path:
    """``qwenvl`` below ``$XDG_DATA_HOME``, or below ``~/.local/share`` where that is not set to an absolute path."""
    chosen = os.environ.get("XDG_DATA_HOME", "")
    return Path(chosen if os.path.isabs(chosen) else os.path.expanduser("~/.local/share")) / "qwenvl"


class DataDir:
    """The directory, locked: the lock goes with the process, however that ends.

    Holds the database and ``files/``, where each file's content stands under the file's id.

    Raises:
        BatchesUnavailableError: another server holds it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._contents = path / "files"
        try:
            # One by one: parents are made with the umask's mode.
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._contents.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unavailable(path, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            if isinstance(error, BlockingIOError):
                raise BatchesUnavailableError(_HELD, f"another server holds {path}") from error
            raise unavailable(path, error) from error

    @property
    def database(self) -> Path:
        return self.path / DATABASE

    def content(self, file_id: str) -> Path:
        """Where the content of a file stands. Ids are made here and looked up in the database before."""
        return self._contents / file_id

    def remove(self, file_ids: Collection[str]) -> None:
        for file_id in file_ids:
            self.content(file_id).unlink(missing_ok=True)

    def remove_all_but(self, file_ids: Collection[str]) -> None:
        """Remove what a killed server left half written."""
        self.remove(set(os.listdir(self._contents)) - set(file_ids))

    def close(self) -> None:
        os.close(self._lock)


def unavailable(path: Path, error: Exception) -> BatchesUnavailableError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return BatchesUnavailableError(_BROKEN, f"cannot use {path}: {reason}")
