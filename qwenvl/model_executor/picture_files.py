"""Pictures by path or URL, for the operator's own scripts and training data.

A server does not open what is named here: it fetches what clients name through ``qwenvl.api.media``, which asks first
whose address it is.
"""

import base64
import binascii
import io
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import PIL.Image

from qwenvl.errors import ImageError

DOWNLOAD_SECONDS = 30.0
"""Longest wait for the next bytes of a picture."""

MAX_DOWNLOAD_BYTES = 64 * 2**20


def open_picture(location: str, directory: Path | None = None) -> PIL.Image.Image:
    """Read a whole picture; its orientation stays as the file has it.

    Args:
        location: a path, or a ``file:``, ``http:``, ``https:`` or ``data:`` URL.
        directory: what a relative path begins from; the current directory by default.

    Raises:
        ImageError: there is no such picture, or it is damaged, or past Pillow's limit of pixels; the message holds
            ``location``.
    """
    shown = location if len(location) <= 200 else f"{location[:200]}..."
    try:
        with _source(location, directory) as source:
            image = PIL.Image.open(source)
            image.load()
    except (urllib.error.URLError, HTTPException) as error:
        raise ImageError(f"cannot fetch the picture {shown}: {getattr(error, 'reason', error)}") from error
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"the picture {shown} has too many pixels: {error}") from error
    except PIL.UnidentifiedImageError as error:
        raise ImageError(f"{shown} is not a picture that Pillow reads") from error
    except (OSError, ValueError, SyntaxError, binascii.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"cannot read the picture {shown}: {reason}") from error
    return image


def _source(location: str, directory: Path | None) -> BinaryIO:
    scheme = urlsplit(location).scheme.lower() if "://" in location or location[:5].lower() == "data:" else ""
    if scheme in ("http", "https"):
        return _download(location)
    if scheme == "data":
        return io.BytesIO(_data(location))
    path = Path(unquote(urlsplit(location).path) if scheme == "file" else location).expanduser()
    return (directory / path if directory is not None else path).open("rb")


def _download(url: str) -> io.BytesIO:
    with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as response:
        content = response.read(MAX_DOWNLOAD_BYTES + 1)
    if len(content) > MAX_DOWNLOAD_BYTES:
        raise ValueError(f"it is larger than {MAX_DOWNLOAD_BYTES >> 20} MiB")
    return io.BytesIO(content)


def _data(url: str) -> bytes:
    header, comma, content = url.partition(",")
    if not comma:
        raise ValueError("a data: URL has a comma before its content")
    return base64.b64decode(unquote(content)) if header.endswith(";base64") else unquote_to_bytes(content)
