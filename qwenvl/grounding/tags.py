"""A text's pieces: words, phrases, boxes. Tolerant, as a model may break off or forget a tag anywhere."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "ref", "box", "quad"]

# Full-width signs come up in Chinese answers.
_TAG = re.compile(r"[<＜](/?)(ref|box|quad)[>＞]")

# A comma only where a number follows, and no white space at the end: those belong to the words after it. Nothing is
# tried twice, so that no text takes long.
_NUMBERS = re.compile(r"(?:\s*+[,，]?+\s*+[(（]?+\s*+-?\d++(?:\.\d++)?+\s*+[)）]?+(?![^\W\d]))*+")


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a text.

    Attributes:
        kind: what it is.
        content: what is between its tags; for a text, all of it.
        span: the characters it takes, tags included.
    """

    kind: Kind
    content: str
    span: tuple[int, int]


def pieces(text: str) -> Iterator[Piece]:
    """All of a text in order, without gaps.

    A phrase that is not closed ends where the next tag opens, or with the text; a box that is not closed ends where
    its numbers do. A closing tag alone is a piece of text with no content: it belongs to nothing and nobody should
    read it.
    """
    position = 0
    opened: _Opened | None = None
    for tag in _TAG.finditer(text):
        closing, name = bool(tag[1]), _kind(tag[2])
        start, end = tag.span()
        if opened is not None and closing and name == opened.kind:
            yield Piece(name, text[opened.content : start], (opened.start, end))
            opened = None
        else:
            yield from _unclosed(opened, text, start) if opened else _plain(text, position, start)
            opened = None if closing else _Opened(name, start, end)
            if closing:
                yield Piece("text", "", (start, end))
        position = end
    yield from _unclosed(opened, text, len(text)) if opened else _plain(text, position, len(text))


@dataclass(frozen=True, slots=True)
class _Opened:
    """A tag that is open: where it starts, and where what it holds does."""

    kind: Kind
    start: int
    content: int


def _unclosed(opened: _Opened, text: str, end: int) -> Iterator[Piece]:
    content_end = end
    if opened.kind != "ref":
        numbers = _NUMBERS.match(text, opened.content, end)
        assert numbers is not None
        content_end = numbers.end()
    yield Piece(opened.kind, text[opened.content : content_end], (opened.start, content_end))
    yield from _plain(text, content_end, end)


def _plain(text: str, start: int, end: int) -> Iterator[Piece]:
    if start < end:
        yield Piece("text", text[start:end], (start, end))


def _kind(name: str) -> Kind:
    return "ref" if name == "ref" else "box" if name == "box" else "quad"
