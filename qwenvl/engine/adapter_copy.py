"""The files of an adapter, read so that what was checked is what is served, whoever writes to them meanwhile."""

import os
import reprlib
import stat
from collections.abc import Iterator
from pathlib import Path

from qwenvl.errors import CheckpointError, UserError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

LARGEST_CONFIG = 1 << 20
"""Bytes of ``adapter_config.json``."""
_PIECE = 1 << 20
_PICKLES = ("adapter_model.bin", "adapter_model.pt")


def read_file(path: Path, *, largest: int, inside: Path | None = None) -> bytes:
    """What is in one file of an adapter.

    Args:
        path: folder and name.
        largest: bytes that it may have.
        inside: the file must lie in this folder, wherever links lead: each step of the way is opened on its own, and
            none that turns into a link after it was looked at is followed.

    Raises:
        UserError: the file does not lie inside.
        CheckpointError: it is missing, too large, or none that can be read; the message names it.
    """
    return b"".join(_pieces(path, largest, inside))


def copy_file(path: Path, target: Path, *, largest: int, inside: Path | None = None) -> None:
    """Copy one file of an adapter to ``target``, which must not be there.

    Raises:
        UserError, CheckpointError: the file cannot be read, as in :func:`read_file`.
        OSError: the copy cannot be written.
    """
    with target.open("xb") as copy:
        for piece in _pieces(path, largest, inside):
            copy.write(piece)


def _pieces(path: Path, largest: int, inside: Path | None) -> Iterator[bytes]:
    try:
        with os.fdopen(_open(path) if inside is None else _open_below(inside, path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CheckpointError(f"{path} is not a file")
            total = 0
            while piece := file.read(_PIECE):
                total += len(piece)
                if total > largest:
                    raise CheckpointError(f"{path} is larger than the {largest:,} bytes that it can have")
                yield piece
    except FileNotFoundError:
        raise CheckpointError(_explain_missing(path.parent, path.name)) from None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None


def _open_below(root: Path, path: Path) -> int:
    *folders, name = _steps_into(root, path)
    folder = _open(root, os.O_DIRECTORY)
    try:
        for step in folders:
            below = _open(step, os.O_DIRECTORY | os.O_NOFOLLOW, folder)
            os.close(folder)
            folder = below
        return _open(name, os.O_NOFOLLOW, folder)
    finally:
        os.close(folder)


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
            f"{reprlib.repr(str(path.parent))} does not.",
            param="lora_path",
            code="invalid_value",
        )
    return steps


def _open(path: str | Path, flags: int = 0, folder: int | None = None) -> int:
    # Without waiting: a pipe would keep its reader until somebody writes.
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags, dir_fd=folder)


def _explain_missing(folder: Path, missing: str) -> str:
    """What is in an adapter's folder instead of one of its two files."""
    if not os.path.isdir(folder):
        return f"there is no folder {folder}"
    if missing == CONFIG_FILE:
        if os.path.isfile(folder / "config.json"):
            return f"{folder} holds a whole checkpoint and no adapter: serve it as the model"
        return f"{folder} holds no {CONFIG_FILE}, so it is no PEFT adapter"
    for name in _PICKLES:
        if os.path.isfile(folder / name):
            return f"{folder / name} is a pickle, which can run code as it is read: save it as {WEIGHTS_FILE}"
    return f"{folder} holds no {missing}"
