"""What a model wrote, as findings and as a text that people read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from qwenvl.grounding.shapes import PERMILLE, Box, Finding, Point, Quad
from qwenvl.grounding.tags import Piece, pieces

# ASCII digits and full-width ones; float() reads both. A sign that follows a digit is none.
_NUMBER = re.compile(r"(?<![\d.])-?\d+(?:\.\d+)?")

_LONGEST_NUMBER = 12
"""Signs of a number that is looked at; a longer one is far outside."""

# What may stand between a phrase and its boxes, or between its boxes.
_BETWEEN = re.compile(r"[\s,，、:：;；]*")


@dataclass(frozen=True)
class Parsed:
    """A text and what is found in it.

    Attributes:
        text: as the model wrote it.
        findings: phrases with their boxes, boxes without a phrase, and phrases without a box, in order; spans are
            those of ``text``.
    """

    text: str
    findings: tuple[Finding, ...]

    @cached_property
    def clean(self) -> "Parsed":
        """The text without tags and coordinates, each phrase in its place; spans are those of its phrases."""
        parts: list[str] = []
        findings: list[Finding] = []
        length = 0
        for piece in _without_tags(self.text, self.findings):
            if isinstance(piece, Finding):
                phrase = _phrase(self.text[slice(*piece.span)])
                start = length + len(phrase) - len(phrase.lstrip())
                findings.append(replace(piece, span=(start, start + len(piece.ref or ""))))
                parts.append(phrase)
            else:
                parts.append(piece)
            length += len(parts[-1])
        return Parsed("".join(parts), tuple(findings))


def parse(text: str) -> Parsed:
    """Read the phrases, boxes and quadrilaterals of an answer. Never raises.

    Corners may be swapped, numbers out of range (they are moved to the edge), tags unclosed, brackets and commas
    full-width, several boxes in one tag. A tag with too few numbers holds no box.
    """
    findings: list[_Collecting] = []
    # What boxes belong to while nothing else comes between.
    current: _Collecting | None = None
    for piece in pieces(text):
        if piece.kind == "text":
            if not _BETWEEN.fullmatch(piece.content):
                current = None
            continue
        if piece.kind == "ref" or current is None:
            current = _Collecting(piece.span[0], piece.span[1])
            findings.append(current)
        current.add(piece)
    return Parsed(text, tuple(finding.done() for finding in findings))


@dataclass(slots=True)
class _Collecting:
    start: int
    end: int
    ref: str | None = None
    boxes: list[Box] = field(default_factory=list)
    quads: list[Quad] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        self.end = piece.span[1]
        if piece.kind == "ref":
            self.ref = piece.content.strip()
            return
        points = _points(piece.content)
        if piece.kind == "box":
            self.boxes += [Box.between(*points[i : i + 2]) for i in range(0, len(points) - 1, 2)]
        else:
            starts = range(0, len(points) - 3, 4)
            self.quads += [Quad((points[i], points[i + 1], points[i + 2], points[i + 3])) for i in starts]

    def done(self) -> Finding:
        return Finding(self.ref, tuple(self.boxes), tuple(self.quads), (self.start, self.end))


def _points(content: str) -> list[Point]:
    numbers = list(map(_coordinate, _NUMBER.findall(content)))
    return [Point(numbers[i], numbers[i + 1]) for i in range(0, len(numbers) - 1, 2)]


def _coordinate(number: str) -> int:
    if len(number) > _LONGEST_NUMBER:
        return 0 if number.startswith("-") else PERMILLE - 1
    return min(PERMILLE - 1, max(0, round(float(number))))


def _without_tags(text: str, findings: tuple[Finding, ...]) -> Iterator[str | Finding]:
    position = 0
    for finding in findings:
        start, end = finding.span
        yield from _words(text[position:start])
        yield finding
        position = end
    yield from _words(text[position:])


def _phrase(text: str) -> str:
    """The phrase of a finding with its white space, which is the only one between it and the words before.

    In a text that is clean already a finding is its phrase, and nothing where it has none.
    """
    first = next(pieces(text), None)
    return first.content if first is not None and first.kind in ("ref", "text") else ""


def _words(text: str) -> Iterator[str]:
    yield from (piece.content for piece in pieces(text) if piece.kind == "text")
