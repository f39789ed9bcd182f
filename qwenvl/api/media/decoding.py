"""Encoded pictures to pixels, within limits. Everything in here blocks: it runs in threads.

Pillow is not asked to guess: only the formats below are tried, and only the first frame is decoded. Some of its limits
are global and anyone in the process may move them, so none of them is relied on.
"""

import io
import logging
import re
import warnings

import PIL.ExifTags
import PIL.Image
import PIL.ImageFile

from qwenvl.model_executor.pictures import fit_image

logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is decoded. Pillow knows more, of which some start other programs."""

# By the value of EXIF's orientation, how to turn the picture upright.
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}

_LOOKALIKES = {b"<svg": "an SVG drawing", b"<!doctype html": "a web page", b"<html": "a web page", b"%pdf-": "a PDF"}


# Filters are global and others reset them: it is put back where it is missing.
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class PictureError(Exception):
    """Not a picture that is decoded here. The message is for the client, and holds nothing of the decoder's."""


def count_pixels(content: bytes, max_pixels: int) -> int:
    """Pixels of a picture by its header; nothing is decoded.

    Raises:
        PictureError: empty, not one of ``FORMATS``, or more than ``max_pixels``.
    """
    with _open(content, max_pixels) as image:
        return image.width * image.height


def decode_picture(content: bytes, max_pixels: int, *, upright: bool) -> PIL.Image.Image:
    """Decode the first frame of a picture.

    Args:
        content: the file.
        max_pixels: by its header.
        upright: turn it as its EXIF orientation says.

    Raises:
        PictureError: as :func:`count_pixels`, or it is damaged.
    """
    # Another library's wish for half pictures must not become an answer about half a picture.
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES = False
    image = _open(content, max_pixels)
    try:
        image.load()
    except Exception as error:
        raise _damaged(error) from None
    turn = _TURNS.get(_orientation(image)) if upright else None
    return image if turn is None else image.transpose(turn)


def fitted_bytes(content: bytes, max_pixels: int, image_size: int, *, upright: bool) -> bytes:
    """Decode a picture and fit it: RGB, ``image_size`` square, row by row.

    Raises:
        PictureError: as :func:`decode_picture`.
    """
    image = decode_picture(content, max_pixels, upright=upright)
    try:
        return fit_image(image, image_size).tobytes()
    except (ValueError, OSError, SyntaxError) as error:
        raise _damaged(error) from None


def fitted_image(pixels: bytes, image_size: int) -> PIL.Image.Image:
    """The picture that :func:`fitted_bytes` wrote: a new one, which its owner may change."""
    return PIL.Image.frombytes("RGB", (image_size, image_size), pixels)


def _open(content: bytes, max_pixels: int) -> PIL.Image.Image:
    if not content:
        raise PictureError("the image is empty (0 bytes).")
    _silence_pillow()
    try:
        image = PIL.Image.open(io.BytesIO(content), formats=FORMATS)
    except PIL.UnidentifiedImageError:
        raise PictureError(f"the image is not in one of the formats {', '.join(FORMATS)}{_hint(content)}.") from None
    except PIL.Image.DecompressionBombError:
        raise PictureError(f"the image must have at most {max_pixels} pixels.") from None
    except Exception as error:
        raise _damaged(error) from None
    if image.width * image.height > max_pixels:
        raise PictureError(f"the image must have at most {max_pixels} pixels, and has {image.width} x {image.height}.")
    return image


def _silence_pillow() -> None:
    """Keep Pillow from writing about the files of strangers, whose notes it quotes, to standard error and the log."""
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)
        logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _orientation(image: PIL.Image.Image) -> int:
    try:
        orientation = image.getexif().get(PIL.ExifTags.Base.Orientation)
    except Exception as error:
        # Whatever is wrong with the notes on a picture, the picture itself is decoded already.
        logger.info("EXIF of an image not read: %s", type(error).__name__)
        return 1
    return orientation if isinstance(orientation, int) else 1


def _hint(content: bytes) -> str:
    start = content[:1024].lower()
    found = next((kind for mark, kind in _LOOKALIKES.items() if mark in start), None)
    return f", but looks like {found}" if found else ""


def _damaged(error: Exception) -> PictureError:
    # Pillow's decoders raise a dozen kinds of exceptions for damaged files; all of them are the file's fault.
    logger.info("image of a request not decoded: %s", type(error).__name__)
    return PictureError("the image is damaged or truncated.")
