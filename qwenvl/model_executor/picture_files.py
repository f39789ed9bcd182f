"""Pictures by path or URL, for the operator's own scripts and training data.

A server does not open what is named here: it fetches what clients name through ``qwenvl.api.media``, which asks first
whose address it is.
"""

import base64
import io
import struct
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import PIL.Image

from qwenvl.errors import ImageError

DOWNLOAD_SECONDS = 30.0
"""Longest wait for the next bytes of a picture."""

MAX_DOWNLOAD_BYTES = 64 * 2**20

_UNREADABLE = (OSError, ValueError, SyntaxError, RuntimeError, EOFError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged files, and a path's home directory that nobody has."""


def open_picture(location: str, directory: Path | None = None, *, draft: int | None = None) -> PIL.Image.Image:
    """Read a whole picture; its orientation stays as the file has it.

    Args:
        location: a path, or a ``file:``, ``http:``, ``https:`` or ``data:`` URL.
        directory: what a relative path begins from; the current directory by default.
        draft: pixels that will do, at each side: a JPEG is read whole and decoded smaller, at a fraction of the work.

    Raises:
        ImageError: there is no such picture, or it is damaged, or past Pillow's limit of pixels; the message holds
            ``location``.
    """
    try:
        source = _source(location, directory)
    except _UNREADABLE as error:
        raise _unreadable(_shown(location), error) from error
    with source:
        return decode_picture(source, _shown(location), draft=draft)


def decode_picture(source: BinaryIO, shown: str, *, draft: int | None = None) -> PIL.Image.Image:
    """As :func:`open_picture`, of a file that is open already; ``shown`` is what errors call it.

    Raises:
        ImageError: it is no picture, or damaged, or past Pillow's limit of pixels.
    """
    try:
        image = PIL.Image.open(source)
        if draft is not None:
            image.draft("RGB", (draft, draft))
        image.load()
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"the picture {shown} has too many pixels: {error}") from error
    except PIL.UnidentifiedImageError as error:
        raise ImageError(f"{shown} is not a picture that Pillow reads") from error
    except _UNREADABLE as error:
        raise _unreadable(shown, error) from error
    return image


def _unreadable(shown: str, error: Exception) -> ImageError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ImageError(f"cannot read the picture {shown}: {reason}")


def is_remote(location: str) -> bool:
    """Whether a picture would be downloaded."""
    return location[:8].lower().startswith(("http://", "https://"))


def local_path(location: str) -> Path:
    """Where a path or a ``file:`` URL leads.

    Raises:
        RuntimeError: it begins with ``~`` and nobody has that home.
        ValueError: it is no URL.
    """
    is_url = location[:7].lower() == "file://"
    return Path(unquote(urlsplit(location).path) if is_url else location).expanduser()


def download_picture(url: str) -> bytes:
    """A file from an ``http:`` or ``https:`` URL.

    Raises:
        ImageError: it cannot be had, or is past :data:`MAX_DOWNLOAD_BYTES`; the message holds ``url``.
    """
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as response:
            content: bytes = response.read(MAX_DOWNLOAD_BYTES + 1)
    except (OSError, HTTPException, ValueError) as error:
        raise ImageError(f"cannot fetch the picture {_shown(url)}: {getattr(error, 'reason', error)}") from error
    if len(content) > MAX_DOWNLOAD_BYTES:
        raise ImageError(f"the picture {_shown(url)} is larger than {MAX_DOWNLOAD_BYTES >> 20} MiB")
    return content


def _shown(location: str) -> str:
    return location if len(location) <= 200 else f"{location[:200]}..."


def _source(location: str, directory: Path | None) -> BinaryIO:
    if is_remote(location):
        return io.BytesIO(download_picture(location))
    if location[:5].lower() == "data:":
        return io.BytesIO(_data(location))
    path = local_path(location)
    return (directory / path if directory is not None else path).open("rb")


def _data(url: str) -> bytes:
    header, comma, content = url.partition(",")
    if not comma:
        raise ValueError("a data: URL has a comma before its content")
    return base64.b64decode(unquote(content)) if header.endswith(";base64") else unquote_to_bytes(content)
