"""Multipart forms of one file and some fields, read as they come."""

from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from qwenvl.errors import UserError

MAX_FORM_BYTES = 64 * 1024
"""What a form may hold beside its file."""

FILE = "file"
_MAX_PARTS = 16


@dataclass(slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    is_file: bool = False
    value: bytearray = field(default_factory=bytearray)


class FormReader:
    """Takes a multipart body apart, piece by piece.

    Attributes:
        content: what has come of the file since the last :meth:`take`.
        filename: as the client says.
        fields: the other parts, texts by their names.
    """

    def __init__(self, boundary: bytes) -> None:
        self.content = bytearray()
        self.filename: str | None = None
        self.fields: dict[str, str] = {}
        self._part = _Part()
        self._parts = 0
        self._small_bytes = 0
        self._ended = False
        self._header = (bytearray(), bytearray())
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add,
                "on_part_end": self._end,
                "on_end": self._end_form,
            },
        )

    def feed(self, piece: bytes) -> None:
        """Read on.

        Raises:
            UserError: this is no form, or not one with one file.
        """
        try:
            self._parser.write(piece)
        except FormParserError:
            raise no_form() from None

    def take(self) -> bytes:
        content, self.content = bytes(self.content), bytearray()
        return content

    def finish(self) -> None:
        """Check that nothing is missing.

        Raises:
            UserError: the form breaks off, or has no file.
        """
        if not self._ended:
            raise no_form()
        if self.filename is None:
            raise UserError("file is required.", param=FILE, code="missing_required_parameter")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise UserError(f"The form must have at most {_MAX_PARTS} parts.")
        self._part = _Part()

    def _end_header(self) -> None:
        name, value = self._header
        self._part.headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._part.headers.get(b"content-disposition"))
        self._part.name = options.get(b"name", b"").decode(errors="replace")
        if not self._part.name:
            raise UserError("Every part of the form must have a name in its Content-Disposition.")
        if b"filename" in options:
            self._begin_file(options[b"filename"].decode(errors="replace"))

    def _begin_file(self, filename: str) -> None:
        if self._part.name != FILE:
            raise UserError(f"{self._part.name} must not be a file; the file is named 'file'.", param=self._part.name)
        if self.filename is not None:
            raise UserError("file must be one file.", param=FILE, code="invalid_value")
        self._part.is_file = True
        self.filename = filename

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self.content += data[start:end]
            return
        self._small_bytes += end - start
        if self._small_bytes > MAX_FORM_BYTES:
            raise UserError(f"The fields beside the file must be at most {MAX_FORM_BYTES} bytes.")
        self._part.value += data[start:end]

    def _end(self) -> None:
        if self._part.is_file:
            return
        if self._part.name == FILE:
            raise UserError("file must be sent as a file, with a file name.", param=FILE, code="invalid_type")
        self.fields[self._part.name] = self._part.value.decode(errors="replace")

    def _end_form(self) -> None:
        self._ended = True


def no_form() -> UserError:
    return UserError("The body is not a valid form of type multipart/form-data.")
