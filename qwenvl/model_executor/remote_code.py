"""What a checkpoint says of code that comes with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def kept_auto_map(auto_map: Any, folder: Path) -> dict[str, Any] | None:
    """What an ``auto_map`` may still say in a folder that is saved to: no file that is not there; None for nothing.

    Code is not written with a checkpoint. A class of another repository, ``owner/name--module.Class``, stays.
    """
    if not isinstance(auto_map, Mapping):
        return None
    return {name: classes for name, classes in auto_map.items() if _all_found(classes, folder)} or None


def _all_found(classes: Any, folder: Path) -> bool:
    named = [classes] if isinstance(classes, str) else classes
    if not isinstance(named, Sequence):
        return False
    return all(
        name is None or "--" in str(name) or (folder / f"{str(name).rpartition('.')[0]}.py").is_file() for name in named
    )
