"""A bar while a model loads: what is being done, how far it is, how long it takes."""

import asyncio
import re
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

POLL_SECONDS = 0.1

# Lines of vLLM 0.32's log and what is done from there on. One that a later version words otherwise shows the stage
# before it for longer.
_STAGES = tuple(
    (re.compile(pattern), stage)
    for pattern, stage in (
        (r"Resolved architecture", "starting the engine"),
        (r"Initializing a V1 LLM engine", "starting the worker"),
        (r"Starting to load model", "loading the weights"),
        (r"Loading weights took", "making room for conversations"),
        (r"for vLLM's torch\.compile", "compiling the model"),
        (r"init engine .* took", "warming up"),
    )
)

# Bars that vLLM and huggingface_hub write, as tqdm does.
_PERCENT = re.compile(r"([A-Za-z][\w ,./()-]*):\s+(\d{1,3})%(?:\||\s+Completed)")


class LogReader:
    """Follows a log, and says what its newest lines tell.

    Attributes:
        stage: what is being done.
        percent: how much of it is done, where that is known.
    """

    def __init__(self, log: Path) -> None:
        self.stage = "importing vLLM"
        self.percent: int | None = None
        self._log = log
        self._position = 0
        self._begun = ""

    def look(self) -> None:
        """Read what is new."""
        with self._log.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        self._position += len(new)
        *lines, self._begun = re.split(r"[\r\n]", self._begun + new.decode("utf-8", "replace"))
        for line in lines:
            self._read(line)

    def _read(self, line: str) -> None:
        if bar := _PERCENT.match(line.strip()):
            self.stage, self.percent = bar[1], int(bar[2])
        for pattern, stage in _STAGES:
            if pattern.search(line):
                self.stage, self.percent = stage, None


async def with_progress(work: Awaitable[None], log: Path, console: Console) -> None:
    """Wait for something that tells of itself in a log, and show a bar meanwhile where there is a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn())
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        # What vLLM prints goes to the log.
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        following = asyncio.create_task(_follow(LogReader(log), progress))
        try:
            await work
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


async def _follow(log: LogReader, progress: Progress) -> None:
    bar = progress.add_task(log.stage, total=None)
    while True:
        log.look()
        total = None if log.percent is None else 100
        progress.update(bar, description=log.stage, total=total, completed=log.percent or 0)
        # A log is a file: there is nothing to wait on.
        await asyncio.sleep(POLL_SECONDS)
