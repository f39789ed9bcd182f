"""What vLLM and all below it print, kept in a file instead of in the middle of a conversation."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def printing_to(log: Path) -> Iterator[tuple[TextIO, TextIO]]:
    """Have this process and those that it starts print to a file; give standard output and error as they were.

    The descriptors themselves are moved: vLLM's processes and compiled libraries know nothing of Python's streams.
    """
    kept = [os.dup(stream.fileno()) for stream in (sys.stdout, sys.stderr)]
    with log.open("ab") as file:
        _point(file.fileno(), file.fileno())
    with (
        os.fdopen(kept[0], "w", encoding="utf-8", errors="replace") as output,
        os.fdopen(kept[1], "w", encoding="utf-8", errors="replace") as errors,
    ):
        try:
            yield output, errors
        finally:
            _point(output.fileno(), errors.fileno())


def _point(output: int, errors: int) -> None:
    for stream, descriptor in ((sys.stdout, output), (sys.stderr, errors)):
        stream.flush()
        os.dup2(descriptor, stream.fileno())


def new_log() -> Path:
    """An empty file that only this user can read."""
    descriptor, name = tempfile.mkstemp(prefix="qwenvl-chat-", suffix=".log")
    os.close(descriptor)
    return Path(name)
