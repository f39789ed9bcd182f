"""Pictures of the data directory, checked and packed for the wire."""

import base64
import binascii
import io
from pathlib import Path

import PIL.Image

from qwenvl.errors import ImageError
from qwenvl.model_executor.picture_files import MAX_DOWNLOAD_BYTES, decode_picture

_ROOT = "data/"
"""What paths in the original's files begin with, since its scripts run beside the data directory."""
_GLANCE = 64
"""Pixels a side that a JPEG is decoded to: enough to know that it can be."""


def find_picture(name: str, data: Path) -> Path:
    """Where a picture of that name is, or would be."""
    path = data / name
    return data / name.removeprefix(_ROOT) if name.startswith(_ROOT) and not path.exists() else path


def read_picture(name: str, data: Path) -> bytes:
    """The file, or what a data URL holds.

    Raises:
        ImageError: it is missing or too large; the message names it.
    """
    try:
        if name.startswith("data:"):
            return base64.b64decode(name.partition(",")[2])
        path = find_picture(name, data)
        if path.stat().st_size > MAX_DOWNLOAD_BYTES:
            raise ImageError(f"the picture {name} is larger than {MAX_DOWNLOAD_BYTES >> 20} MiB")
        return path.read_bytes()
    except (OSError, ValueError, binascii.Error) as error:
        raise ImageError(
            f"cannot read the picture {name[:200]}: {getattr(error, 'strerror', None) or error}"
        ) from error


def open_sample_picture(name: str, data: Path) -> PIL.Image.Image:
    """The picture in its colours, as a report shows it.

    Raises:
        ImageError: as :func:`picture_url`.
    """
    return decode_picture(io.BytesIO(read_picture(name, data)), name[:200]).convert("RGB")


def picture_url(name: str, data: Path) -> str:
    """The picture in a data URL, its bytes as they are.

    Raises:
        ImageError: it is missing, damaged or no picture; the message names it.
    """
    content = read_picture(name, data)
    image = decode_picture(io.BytesIO(content), name[:200], draft=_GLANCE)
    media_type = PIL.Image.MIME.get(image.format or "", "image/png")
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
