"""A private copy of an adapter: what was checked is what is served, whoever writes to the original meanwhile."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from qwenvl.errors import CheckpointError, UserError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

LARGEST_CONFIG = 1 << 20
"""Bytes of ``adapter_config.json``."""
_PIECE = 1 << 20
_PICKLES = ("adapter_model.bin", "adapter_model.pt")


def copy_adapter(source: Path, target: Path, *, largest: int, inside: Path | None = None) -> None:
    """Copy the two files of an adapter into the folder ``target``, which is there and empty.

    Args:
        source: folder of the adapter.
        target: folder of the copy.
        largest: bytes that the weights may have.
        inside: the files must lie in this folder, wherever links lead: each step of the way is opened on its own, and
            none that turns into a link after it was looked at is followed.

    Raises:
        UserError: ``source`` does not lie inside.
        CheckpointError: a file is missing, too large, or none that can be read; the message names it.
    """
    for name, limit in ((CONFIG_FILE, LARGEST_CONFIG), (WEIGHTS_FILE, largest)):
        steps = None if inside is None else _steps_into(inside, source / name)
        try:
            with _opened(source / name, inside, steps) as original:
                _copy(original, target / name, source / name, limit)
        except FileNotFoundError:
            raise CheckpointError(explain_missing(source, name)) from None
        except OSError as error:
            raise CheckpointError(f"{source / name}: {error.strerror or error}") from None


def _steps_into(folder: Path, path: Path) -> tuple[str, ...]:
    """The way from a folder to a path below it, with no links in it as far as can be told."""
    try:
        steps = path.resolve().relative_to(folder.resolve()).parts
    except (OSError, RuntimeError, ValueError):
        # It lies elsewhere, links lead in a circle, or it is no path at all.
        steps = ()
    if not steps:
        # The same whether it is there or not: what lies outside is nobody's to find out.
        raise UserError(
            f"lora_path must lie inside the server's folder of adapters, wherever links lead; {path.name} of "
            f"{str(path.parent)!r} does not.",
            param="lora_path",
            code="invalid_value",
        )
    return steps


def _copy(original: BinaryIO, target: Path, path: Path, limit: int) -> None:
    copied = 0
    with target.open("xb") as copy:
        while piece := original.read(_PIECE):
            copied += len(piece)
            if copied > limit:
                raise CheckpointError(f"{path} is larger than the {limit:,} bytes that it can have")
            copy.write(piece)


@contextmanager
def _opened(path: Path, inside: Path | None, steps: tuple[str, ...] | None) -> Iterator[BinaryIO]:
    descriptor = _open(path) if inside is None or steps is None else _open_below(inside, steps)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CheckpointError(f"{path} is not a file")
        yield file


def _open_below(root: Path, steps: tuple[str, ...]) -> int:
    *folders, name = steps
    folder = _open(root, os.O_DIRECTORY)
    try:
        for step in folders:
            below = _open(step, os.O_DIRECTORY | os.O_NOFOLLOW, folder)
            os.close(folder)
            folder = below
        return _open(name, os.O_NOFOLLOW, folder)
    finally:
        os.close(folder)


def _open(path: str | Path, flags: int = 0, folder: int | None = None) -> int:
    # Without waiting: a pipe would keep its reader until somebody writes.
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags, dir_fd=folder)


def explain_missing(folder: Path, missing: str) -> str:
    """What is in an adapter's folder instead of one of its two files."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    if missing == CONFIG_FILE:
        if (folder / "config.json").is_file():
            return f"{folder} holds a whole checkpoint and no adapter: serve it as the model"
        return f"{folder} holds no {CONFIG_FILE}, so it is no PEFT adapter"
    for name in _PICKLES:
        if (folder / name).is_file():
            return f"{folder / name} is a pickle, which can run code as it is read: save it as {WEIGHTS_FILE}"
    return f"{folder} holds no {WEIGHTS_FILE}"
