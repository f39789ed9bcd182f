"""Writing contents: calls for a thread. A full disk is an error of its own."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from qwenvl.api.batches.errors import StorageFullError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def create(path: Path) -> BinaryIO:
    """A new file that nobody else reads. Unbuffered, so that closing it writes nothing."""
    with _disk_full():
        return open(path, "wb", buffering=0, opener=_open_private)


def write(file: BinaryIO, content: str | bytes) -> int:
    """Write all of it.

    Returns:
        Its length in bytes.

    Raises:
        StorageFullError: there is no room.
    """
    data = content.encode() if isinstance(content, str) else content
    rest = memoryview(data)
    with _disk_full():
        while rest:
            rest = rest[file.write(rest) :]
    return len(data)


def save(file: BinaryIO) -> None:
    """See to it that the content survives a power cut: its row in the database will speak of it."""
    with _disk_full():
        os.fsync(file.fileno())


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


@contextmanager
def _disk_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError from error
        raise
