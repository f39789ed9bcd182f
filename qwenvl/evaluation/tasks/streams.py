"""Large files, a piece at a time: lines with their numbers, and the elements of an array inside of a JSON file."""

import csv
import json
import sys
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TextIO

from qwenvl.errors import UserError

CHUNK_CHARACTERS = 1 << 20
MAX_ELEMENT_CHARACTERS = 1 << 26
_BLANKS = " \t\r\n"
_AFTER_VALUE = frozenset(_BLANKS + ",:]}")


def read_lines(path: Path) -> Iterator[str]:
    """Lines that are not blank. What is not UTF-8 in them becomes U+FFFD, which no JSON needs.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
            yield from (line for line in file if line.strip())
    except OSError as error:
        raise _unreadable(path, error) from error


def read_table(path: Path) -> Iterator[list[str]]:
    """Rows of tab-separated values; a field may hold a whole picture.

    Raises:
        UserError: the file cannot be read, or is no table.
    """
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            yield from csv.reader(file, delimiter="\t")
    except OSError as error:
        raise _unreadable(path, error) from error
    except csv.Error as error:
        raise UserError(f"{path} is no table of tab-separated values: {error}") from error


def read_elements(path: Path, key: str | None) -> Iterator[Any]:
    """Elements of the array under ``key`` of the object that the file holds; of the array it holds where that is None.

    Raises:
        UserError: the file cannot be read, is no JSON, or has no such array.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _Scanner(file).elements(key)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not the JSON file that it should be: {error}") from error
    except LookupError as error:
        raise UserError(f"{path} has no array {key!r}: is it another file?") from error


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot read {path}: {error.strerror or error}")


class _Scanner:
    """JSON values out of a text that is read as far as it is needed."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._is_at_end = False
        self._decoder = json.JSONDecoder()

    def elements(self, key: str | None) -> Iterator[Any]:
        if key is None:
            yield from self._array()
            return
        if self._peek() != "{":
            raise LookupError(key)
        self._at += 1
        found = False
        while self._peek() != "}":
            name = self._value()
            self._take(":")
            if self._peek() != "[":
                self._value()
            elif name == key:
                found = True
                yield from self._array()
            else:
                for _ in self._array():
                    pass
            self._comma("}")
        if not found:
            raise LookupError(key)

    def _array(self) -> Iterator[Any]:
        if self._peek() != "[":
            raise LookupError
        self._at += 1
        while self._peek() != "]":
            yield self._value()
            self._comma("]")
        self._at += 1

    def _comma(self, end: str) -> None:
        if self._peek() != end:
            self._take(",")

    def _take(self, mark: str) -> None:
        if self._peek() != mark:
            raise JSONDecodeError(f"expected {mark!r}", self._text[self._at : self._at + 40], 0)
        self._at += 1

    def _peek(self) -> str:
        """The next sign that is no blank; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANKS:
                self._at += 1
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except JSONDecodeError:
                if len(self._text) - self._at > MAX_ELEMENT_CHARACTERS or not self._read_on():
                    raise
                continue
            # A number that ends near what was read may go on: 3 is what there is yet of 3.5.
            if self._text[end : end + 1] in _AFTER_VALUE or not self._read_on():
                self._at = end
                return value

    def _read_on(self) -> bool:
        more = self._file.read(CHUNK_CHARACTERS)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
