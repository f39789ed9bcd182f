"""What is shown: answers on standard output, all else on standard error."""

import re
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from qwenvl.grounding import Finding, box_to_pixels, quad_to_pixels

# A terminal takes these for orders: to move, to color, to name the window. Nobody's text may give any.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Screen:
    """Where a chat is shown.

    Args:
        answers: for what the model says.
        notes: for everything else.

    Attributes:
        terminal: the one of the two that a person looks at; None where nobody does.
    """

    def __init__(self, answers: TextIO, notes: TextIO) -> None:
        self.terminal = next((file for file in (answers, notes) if file.isatty()), None)
        self._answers = Console(file=answers, highlight=False, markup=False, emoji=False)
        self.notes = Console(file=notes, highlight=False, markup=False, emoji=False)
        self._last = "\n"

    def say(self, text: str) -> None:
        """Words of an answer, now."""
        self._write(plain(text))

    def point(self, finding: Finding, size: tuple[int, int] | None) -> None:
        """Where a finding is: in pixels of the picture, or in thousandths where its size is not known."""
        for place in places(finding, size):
            self._write(f"{'' if self._last.isspace() else ' '}[{place}]", style="dim")

    def end_answer(self) -> None:
        """End its line."""
        if self._last != "\n":
            self._write("\n")

    def note(self, text: str) -> None:
        """A line about what was done."""
        self.notes.print(plain(text), style="dim", soft_wrap=True)

    def fail(self, text: str) -> None:
        """A line about what was not."""
        self.notes.print(f"qwenvl: {plain(text)}", style="red", soft_wrap=True)

    def waiting(self) -> Live:
        """A sign of life until it is stopped; nothing where nobody looks."""
        # What other parts of the process print stays where it was sent.
        return Live(Spinner("dots"), console=self.notes, transient=True, redirect_stdout=False, redirect_stderr=False)

    def _write(self, text: str, style: str | None = None) -> None:
        if text:
            self._answers.print(text, style=style, end="", soft_wrap=True)
            self._last = text[-1]


def plain(text: str) -> str:
    """``text`` without what a terminal would take for an order, and without what cannot be encoded."""
    return _CONTROLS.sub("", text).encode("utf-8", "replace").decode("utf-8")


def places(finding: Finding, size: tuple[int, int] | None) -> Sequence[str]:
    """Each box and quadrilateral of a finding, as corners; with a ‰ those in thousandths."""
    if size is None:
        boxes = [_corners(((box.x1, box.y1), (box.x2, box.y2))) + "‰" for box in finding.boxes]
        return [*boxes, *(_corners([(p.x, p.y) for p in quad.corners]) + "‰" for quad in finding.quads)]
    pixels = [box_to_pixels(box, *size) for box in finding.boxes]
    boxes = [_corners(((x1, y1), (x2, y2))) for x1, y1, x2, y2 in pixels]
    return [*boxes, *(_corners(quad_to_pixels(quad, *size)) for quad in finding.quads)]


def _corners(points: Sequence[tuple[int, ...]]) -> str:
    return " ".join(",".join(map(str, point)) for point in points)
