"""The files of a run: what it was asked to do, checkpoints to go on from, curve, events and summary."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenvl.errors import UserError

_STATE = "trainer_state.json"
"""Written last of a checkpoint's files."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps its files, beside what it makes.

    Attributes:
        output: the directory of the finished adapter or checkpoint; the run's files are in ``training`` below it.
    """

    output: Path

    @property
    def root(self) -> Path:
        """All that is not the result."""
        return self.output / "training"

    @property
    def checkpoints(self) -> Path:
        """A directory for each checkpoint, as transformers has it."""
        return self.root / "checkpoints"

    @property
    def settings(self) -> Path:
        """What the run was asked to do."""
        return self.root / "settings.json"

    @property
    def summary(self) -> Path:
        """What came of it."""
        return self.root / "summary.json"

    @property
    def curve(self) -> Path:
        """The loss over the steps, as a picture."""
        return self.root / "loss.png"

    @property
    def events(self) -> Path:
        """For TensorBoard."""
        return self.root / "tensorboard"

    @property
    def pictures(self) -> Path:
        """Copies of pictures that the data names by URL."""
        return self.root / "pictures"

    def last_checkpoint(self) -> Path | None:
        """The newest whole checkpoint; one that a crash cut short is passed over."""
        steps = {
            int(path.name.rpartition("-")[2]): path
            for path in self.checkpoints.glob("checkpoint-*")
            if path.name.rpartition("-")[2].isdecimal() and _is_object(path / _STATE)
        }
        return steps[max(steps)] if steps else None

    def check(self, settings: Mapping[str, Any], *, resume: bool) -> None:
        """See that the folder is free, or that the run in it is the one that goes on.

        Args:
            settings: JSON values that decide what is computed.
            resume: whether a run is to go on.

        Raises:
            UserError: another run's files are there, there is nothing to go on from, or a setting differs, which the
                message names.
        """
        if not resume:
            if self.settings.exists():
                raise UserError(f"{self.output} holds a run: go on with it by --resume, or choose another --output")
            if self.output.is_dir() and any(path.name != self.root.name for path in self.output.iterdir()):
                raise UserError(f"{self.output} is not empty: choose another --output")
            return
        if not self.settings.exists():
            raise UserError(f"--resume: {self.output} holds no run: {self.settings} is missing")
        try:
            saved = json.loads(self.settings.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"--resume: {self.settings} is not JSON: {error}") from error
        for name in sorted(saved.keys() | settings.keys()):
            if saved.get(name) != settings.get(name):
                raise UserError(
                    f"--resume: {name} was {saved.get(name)!r} in this run and is {settings.get(name)!r} now: "
                    "give it as it was, or choose another --output"
                )

    def write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        """Write a file of this folder, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(scratch, path)


def _is_object(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False
