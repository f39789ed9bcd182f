"""A text's pieces as it comes: words, phrases, boxes. Tolerant, as a model may break off or forget a tag anywhere."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["ref", "box", "quad"]

# Full-width signs come up in Chinese answers.
_TAG = re.compile(r"[<＜](/?)(ref|box|quad)[>＞]")

# What may become a tag with the text that follows.
_BEGUN = re.compile(r"[<＜]/?(?:r|re|ref|b|bo|box|q|qu|qua|quad)?\Z")

_LONGEST_TAG = len("</quad>")

# A comma only where a number follows, and no white space at the end: those belong to the words after it. Nothing is
# tried twice, so that no text takes long.
_NUMBERS = re.compile(r"(?:\s*+[,，]?+\s*+[(（]?+\s*+-?\d++(?:\.\d++)?+\s*+[)）]?+(?![^\W\d]))*+")


def has_tags(text: str) -> bool:
    """Whether a reader takes any of the text for a tag."""
    return _TAG.search(text) is not None


@dataclass(frozen=True, slots=True)
class Words:
    """Text that is neither a phrase nor within a box."""

    content: str


@dataclass(frozen=True, slots=True)
class RefOpened:
    """A phrase begins.

    Attributes:
        start: where its tag does, in characters of the whole text.
    """

    start: int


@dataclass(frozen=True, slots=True)
class RefWords:
    """Some of the phrase that is open."""

    content: str


@dataclass(frozen=True, slots=True)
class RefClosed:
    """The phrase ends.

    Attributes:
        end: where its tag does, in characters of the whole text.
    """

    end: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """All that a box or a quadrilateral holds.

    Attributes:
        kind: which of them.
        content: what is between its tags.
        start: where its tag begins, in characters of the whole text.
        content_start: where ``content`` does.
        end: where all of it does.
    """

    kind: Kind
    content: str
    start: int
    content_start: int
    end: int


Piece = Words | RefOpened | RefWords | RefClosed | Numbers


class TagReader:
    """Cuts a text into pieces while it grows. How it is cut into parts when it is fed changes nothing.

    A phrase that is not closed ends where the next tag begins, or with the text; a box that is not closed ends where
    its numbers do. A closing tag alone is no piece: it belongs to nothing and nobody should read it.
    """

    def __init__(self) -> None:
        # What is kept of the text: all from ``_offset`` on. Places below are within it.
        self._text = ""
        self._offset = 0
        self._taken = 0
        # No tag begins before this place.
        self._searched = 0
        self._open: _Open | None = None

    def feed(self, text: str) -> Iterator[Piece]:
        """The pieces that are certain now. What may yet be part of a tag, and a box, are held back."""
        self._forget_taken()
        self._text += text
        while (tag := _TAG.search(self._text, self._searched)) is not None:
            self._searched = tag.end()
            yield from self._take_tag(tag)
        begun = _BEGUN.search(self._text, max(self._searched, len(self._text) - _LONGEST_TAG))
        self._searched = begun.start() if begun else len(self._text)
        if self._open is None or self._open.kind == "ref":
            yield from self._take_words(self._searched)

    def finish(self) -> Iterator[Piece]:
        """The pieces that the end of the text makes certain."""
        yield from self._close(len(self._text))
        yield from self._take_words(len(self._text))

    def _take_tag(self, tag: re.Match[str]) -> Iterator[Piece]:
        closing, kind = bool(tag[1]), _kind(tag[2])
        start, end = tag.span()
        if self._open is not None and closing and kind == self._open.kind:
            yield from self._close_with(start, end)
            return
        yield from self._close(start)
        yield from self._take_words(start)
        self._taken = end
        if not closing:
            self._open = _Open(kind, self._offset + start, self._offset + end)
            if kind == "ref":
                yield RefOpened(self._open.start)

    def _close_with(self, start: int, end: int) -> Iterator[Piece]:
        """Close what is open by its own tag."""
        assert self._open is not None
        opened = self._open
        if opened.kind == "ref":
            yield from self._take_words(start)
            yield RefClosed(self._offset + end)
        else:
            content = self._text[self._taken : start]
            yield Numbers(opened.kind, content, opened.start, opened.content, self._offset + end)
        self._open, self._taken = None, end

    def _close(self, end: int) -> Iterator[Piece]:
        """Close what is open, if anything, at the latest there: its own tag is missing."""
        if self._open is None:
            return
        opened = self._open
        if opened.kind == "ref":
            yield from self._take_words(end)
            yield RefClosed(self._offset + end)
        else:
            numbers = _NUMBERS.match(self._text, self._taken, end)
            assert numbers is not None
            self._taken = numbers.end()
            yield Numbers(opened.kind, numbers[0], opened.start, opened.content, self._offset + self._taken)
        self._open = None

    def _take_words(self, end: int) -> Iterator[Piece]:
        content, self._taken = self._text[self._taken : end], end
        if content:
            yield Words(content) if self._open is None else RefWords(content)

    def _forget_taken(self) -> None:
        self._text = self._text[self._taken :]
        self._offset += self._taken
        self._searched -= self._taken
        self._taken = 0


@dataclass(frozen=True, slots=True)
class _Open:
    """A tag that is open: where it starts, and where what it holds does, in characters of the whole text."""

    kind: Kind
    start: int
    content: int


def _kind(name: str) -> Kind:
    return "ref" if name == "ref" else "box" if name == "box" else "quad"
