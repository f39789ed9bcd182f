"""What a model writes, read while it comes: words for people, and findings as soon as they are whole."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from qwenvl.grounding.shapes import PERMILLE, Box, Finding, Point, Quad
from qwenvl.grounding.tags import Numbers, Piece, RefClosed, RefOpened, RefWords, TagReader, Words

# ASCII digits and full-width ones; float() reads both. A sign that follows a digit is none.
_NUMBER = re.compile(r"(?<![\d.])-?\d+(?:\.\d+)?")

_LONGEST_NUMBER = 12
"""Digits of a number that are looked at, before its point and after it; a longer one is far outside."""

# What may stand between a phrase and its boxes, or between its boxes.
_BETWEEN = re.compile(r"[\s,，、:：;；]*")

Span = tuple[int, int]
"""Characters of a text, from the first up to and without the last."""


@dataclass(frozen=True, slots=True)
class Said:
    """Words for people: no tags, no coordinates; phrases are among them."""

    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """A finding that is whole.

    Attributes:
        finding: its span is that of the text as the model wrote it.
        clean_span: that of its phrase in the text that people read.
        box_numbers: for each of its boxes, where the four numbers of it stand in the text as the model wrote it.
        quad_numbers: likewise, eight for each.
    """

    finding: Finding
    clean_span: Span
    box_numbers: tuple[tuple[Span, ...], ...]
    quad_numbers: tuple[tuple[Span, ...], ...]


Event = Said | Found


class GroundingReader:
    """Reads one answer while it grows. How the text is cut into parts changes nothing, and no text raises.

    Corners may be swapped, numbers out of range (they are moved to the edge), tags unclosed, brackets and commas
    full-width, several boxes in one tag. A tag with too few numbers holds no box.

    A phrase and the boxes after it are one finding, which is whole as soon as something else follows.
    """

    def __init__(self) -> None:
        self._tags = TagReader()
        # What boxes belong to while nothing else comes between.
        self._current: _Collecting | None = None
        # What stands after it, and is within it if another box follows.
        self._between = ""
        self._said = 0

    def feed(self, text: str) -> list[Event]:
        """What is new and certain, in order."""
        return [event for piece in self._tags.feed(text) for event in self._take(piece)]

    def finish(self) -> list[Event]:
        """What the end of the text makes certain."""
        events = [event for piece in self._tags.finish() for event in self._take(piece)]
        return [*events, *self._close()]

    def _take(self, piece: Piece) -> Iterator[Event]:
        match piece:
            case Words(content):
                yield from self._take_words(content)
            case RefOpened(start):
                yield from self._close()
                self._current = _Collecting(start, start, clean_start=self._said, phrase=[])
            case RefWords(content):
                assert self._current is not None
                assert self._current.phrase is not None
                self._current.phrase.append(content)
                yield self._say(content)
            case RefClosed(end):
                assert self._current is not None
                self._current.end = end
            case Numbers():
                self._between = ""
                if self._current is None:
                    self._current = _Collecting(piece.start, piece.end, clean_start=self._said)
                self._current.add(piece)

    def _take_words(self, content: str) -> Iterator[Event]:
        # What is held is all white space and commas, so this is of what is new alone.
        if self._current is not None and _BETWEEN.fullmatch(content):
            self._between += content
            return
        yield from self._close()
        yield self._say(content)

    def _close(self) -> Iterator[Event]:
        if self._current is None:
            return
        found, self._current = self._current.done(), None
        yield found
        if self._between:
            between, self._between = self._between, ""
            yield self._say(between)

    def _say(self, text: str) -> Said:
        self._said += len(text)
        return Said(text)


@dataclass(slots=True)
class _Collecting:
    start: int
    end: int
    clean_start: int
    phrase: list[str] | None = None
    boxes: list[Box] = field(default_factory=list)
    box_numbers: list[tuple[Span, ...]] = field(default_factory=list)
    quads: list[Quad] = field(default_factory=list)
    quad_numbers: list[tuple[Span, ...]] = field(default_factory=list)

    def add(self, piece: Numbers) -> None:
        self.end = piece.end
        numbers = list(_NUMBER.finditer(piece.content))
        size = 4 if piece.kind == "box" else 8
        for i in range(0, len(numbers) - size + 1, size):
            corners = numbers[i : i + size]
            points = [
                Point(_coordinate(x[0]), _coordinate(y[0])) for x, y in zip(corners[::2], corners[1::2], strict=True)
            ]
            spans = tuple((piece.content_start + n.start(), piece.content_start + n.end()) for n in corners)
            if piece.kind == "box":
                self.boxes.append(Box.between(points[0], points[1]))
                self.box_numbers.append(spans)
            else:
                self.quads.append(Quad((points[0], points[1], points[2], points[3])))
                self.quad_numbers.append(spans)

    def done(self) -> Found:
        written = None if self.phrase is None else "".join(self.phrase)
        ref = None if written is None else written.strip()
        start = self.clean_start + (len(written) - len(written.lstrip()) if written else 0)
        return Found(
            Finding(ref, tuple(self.boxes), tuple(self.quads), (self.start, self.end)),
            (start, start + len(ref or "")),
            tuple(self.box_numbers),
            tuple(self.quad_numbers),
        )


def _coordinate(number: str) -> int:
    if number.startswith("-"):
        return 0
    whole, _, fraction = number.partition(".")
    if len(whole.lstrip("0０")) > _LONGEST_NUMBER:
        return PERMILLE - 1
    return min(PERMILLE - 1, round(float(f"{whole}.{fraction[:_LONGEST_NUMBER] or 0}")))
