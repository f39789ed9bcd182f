"""Boxes, quadrilaterals, and what they are found for. Coordinates are thousandths of the picture's width and height."""

from dataclasses import dataclass

PERMILLE = 1000
"""Coordinates are integers from 0 up to and without this; the picture's far edge is 999."""


@dataclass(frozen=True, slots=True)
class Point:
    """Thousandths from the left edge and from the top edge."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: its corners at the top left and at the bottom right, in thousandths."""

    x1: int
    y1: int
    x2: int
    y2: int

    @classmethod
    def between(cls, first: Point, second: Point) -> "Box":
        """The rectangle that has these as opposite corners, in whatever order they come."""
        return cls(min(first.x, second.x), min(first.y, second.y), max(first.x, second.x), max(first.y, second.y))


@dataclass(frozen=True, slots=True)
class Quad:
    """A quadrilateral: its corners in order around it, for text that is slanted."""

    corners: tuple[Point, Point, Point, Point]


@dataclass(frozen=True, slots=True)
class Finding:
    """A phrase and where it is in the picture.

    Attributes:
        ref: the phrase, without white space around it; None where the model gave boxes and no phrase.
        boxes: where it is; several for several of a kind.
        quads: likewise.
        span: characters of the text that it takes, from the first up to and without the last.
    """

    ref: str | None
    boxes: tuple[Box, ...]
    quads: tuple[Quad, ...]
    span: tuple[int, int]
