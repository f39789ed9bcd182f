"""How far a run is, for people who look on: a bar with rate and time left, where there is a terminal."""

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


class Bar:
    """One run's.

    Args:
        name: of the task.
        total: samples, where it is known.
    """

    def __init__(self, name: str, total: int | None) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(name, total=total)

    def advance(self) -> None:
        """One sample more, done now or earlier."""
        self._progress.advance(self._task)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, at: TracebackType | None) -> None:
        self._progress.stop()


def count_lines(path: Path) -> int | None:
    """How many lines a file has; None for what is no file of lines."""
    if path.suffix != ".jsonl" or not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
