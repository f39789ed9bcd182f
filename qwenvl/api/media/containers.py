"""How a file is put together, looked at before its decoder works through it.

Decoders take as long as a file has pieces, however little these hold: a JPEG of 20 MB can have 600,000 scans over all
its pixels, which take hours. A thread that decodes cannot be stopped, so what no camera and no program writes is
refused.
"""

import re
from collections.abc import Iterator

MAX_PIECES = 20_000
"""Segments of a JPEG, or chunks of a PNG. Programs write 4 KiB and more into a piece."""
MAX_SCANS = 100
"""Of a JPEG. Progressive ones have some ten."""

_JPEG = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"

# Not 00, a stuffed byte, nor ff, padding; among scans not those that restart them either: they may be many.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_AMONG_SCANS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SCAN, _END = 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))


def is_crumbled(content: bytes) -> bool:
    """Whether a JPEG or PNG is made of too many pieces. Other formats' decoders are quick about them."""
    if content.startswith(_JPEG):
        return _is_crumbled_jpeg(content)
    return content.startswith(_PNG) and any(number > MAX_PIECES for number, _ in enumerate(_png_chunks(content), 1))


def _is_crumbled_jpeg(content: bytes) -> bool:
    position, pieces, scans = len(_JPEG), 0, 0
    while found := (_MARKER_AMONG_SCANS if scans else _MARKER).search(content, position):
        # Pillow reads the padding before a header's marker byte by byte.
        pieces += 1 if scans else 1 + found.start() - position
        marker = content[found.start() + 1]
        scans += marker == _SCAN
        if pieces > MAX_PIECES or scans > MAX_SCANS:
            return True
        if marker == _END:
            break
        position = found.end()
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(content[position : position + 2])
    return False


def _png_chunks(content: bytes) -> Iterator[bytes]:
    position = len(_PNG)
    while len(content) - position >= 8:
        yield content[position + 4 : position + 8]
        position += 12 + int.from_bytes(content[position : position + 4])
