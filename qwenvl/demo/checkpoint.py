"""The checkpoint that comes with the package: a small Qwen-VL in the original layout, trained on synthetic scenes.

What it can do, and how it was made, is in the ``README.md`` beside its weights.
"""

from pathlib import Path

from qwenvl.errors import CheckpointError

NAME = "qwenvl-small"
"""What it is served as."""

_DIRECTORY = Path(__file__).parent / "small"


def built_in_checkpoint() -> Path:
    """Its directory.

    Raises:
        CheckpointError: this installation lacks the weights.
    """
    if not (_DIRECTORY / "model.safetensors").is_file():
        raise CheckpointError(f"{_DIRECTORY} holds no model.safetensors: install qwenvl again, or name a checkpoint")
    return _DIRECTORY
