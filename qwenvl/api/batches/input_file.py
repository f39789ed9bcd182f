"""A batch's input: JSON objects, one a line."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ConfigDict, TypeAdapter

from qwenvl.api.batches.job_table import Line
from qwenvl.api.batches.objects import Problem
from qwenvl.api.batches.schemas import InputLine
from qwenvl.api.validation import parse_json
from qwenvl.errors import UserError

MAX_LINES = 50_000
MAX_PROBLEMS = 100
"""Problems of one file that are told. Reading ends there."""

# NaN stays NaN, for the endpoint to refuse.
_BODY = TypeAdapter(dict[str, Any], config=ConfigDict(ser_json_inf_nan="constants"))

_BOM = b"\xef\xbb\xbf"


class InputReader:
    """Reads one input file, in a thread.

    Args:
        endpoint: what every line's url must be.
        max_line_bytes: as for the body of a request that is sent on its own.

    Attributes:
        lines: the requests, as far as they are good.
        problems: what is wrong; where there is anything, the batch fails.
    """

    def __init__(self, endpoint: str, max_line_bytes: int) -> None:
        self._endpoint = endpoint
        self._max_line_bytes = max_line_bytes
        self._first_use: dict[str, int] = {}
        self.lines: list[Line] = []
        self.problems: list[Problem] = []

    def read(self, path: Path) -> None:
        with path.open("rb") as file:
            for number, start, raw in _lines(file, self._max_line_bytes):
                if raw is not None and not raw.strip():
                    continue
                if len(self.lines) == MAX_LINES:
                    self._complain(number, f"The file has more than {MAX_LINES} requests.", "too_many_requests")
                    return
                self._read_line(number, start, raw)
                if len(self.problems) == MAX_PROBLEMS:
                    return
        if not self.lines and not self.problems:
            self._complain(None, "The file has no requests.", "empty_file")

    def _read_line(self, number: int, start: int, raw: bytes | None) -> None:
        if raw is None:
            limit = f"The line is longer than the limit of {self._max_line_bytes} bytes."
            self._complain(number, limit, "line_too_long")
            return
        try:
            line = parse_line(raw)
            self._check(line, number)
        except UserError as error:
            self._complain(number, error.message, error.code or "invalid_value", error.param)
            return
        self._first_use[line.custom_id] = number
        self.lines.append(Line(number, line.custom_id, start, len(raw)))

    def _check(self, line: InputLine, number: int) -> None:
        if line.url != self._endpoint:
            raise UserError(f"url must be the batch's endpoint, {self._endpoint!r}.", param="url", code="url_mismatch")
        if line.body.get("stream"):
            raise UserError(
                "body.stream is not possible in a batch. Leave it out.", param="body.stream", code="invalid_value"
            )
        if line.custom_id in self._first_use:
            raise UserError(
                f"custom_id must be unique; line {self._first_use[line.custom_id]} has the same.",
                param="custom_id",
                code="duplicate_custom_id",
            )

    def _complain(self, line: int | None, message: str, code: str, param: str | None = None) -> None:
        self.problems.append(Problem(code=code, line=line, message=message, param=param))


def parse_line(raw: bytes) -> InputLine:
    """One line, which may end in line breaks.

    Raises:
        UserError: it is no request; what it asks of its endpoint is not looked at.
    """
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"The line is not valid UTF-8, at its byte {error.start + 1}.", code="invalid_utf8") from None
    try:
        return parse_json(raw, InputLine)
    except UserError as error:
        if error.param is not None:
            raise
        message = error.message.replace("The body", "The line", 1)
        raise UserError(message, code=error.code or "invalid_json_line") from None


def read_body(path: Path, line: Line) -> bytes:
    """The JSON body of a request, for its endpoint to parse.

    Raises:
        OSError: the file is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        raw = os.pread(descriptor, line.length, line.start)
    finally:
        os.close(descriptor)
    return _BODY.dump_json(parse_line(raw).body)


def _lines(file: BinaryIO, max_bytes: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Number, position and bytes of each line; None for the bytes of one that is too long. A BOM belongs to no line."""
    start = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
    file.seek(start)
    number = 0
    while raw := file.readline(max_bytes):
        number += 1
        too_long = len(raw) == max_bytes and not raw.endswith(b"\n")
        length = len(raw)
        while too_long and (more := file.readline(max_bytes)):
            length += len(more)
            if more.endswith(b"\n"):
                break
        yield number, start, None if too_long else raw
        start += length
