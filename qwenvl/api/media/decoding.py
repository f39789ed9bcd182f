"""Encoded pictures to pixels, within limits. Everything in here blocks: it runs in threads.

Pillow is not asked to guess: only the formats below are tried, and only the first frame is decoded. Some of its limits
are global and anyone in the process may move them, so none of them is relied on.
"""

import io
import logging
import re
import warnings
from dataclasses import dataclass

import PIL.Image
import PIL.ImageFile
import PIL.TiffImagePlugin

from qwenvl.api.media.containers import is_crumbled
from qwenvl.model_executor.pictures import fit_image, orientation_of, turned, turned_upright

logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is decoded. Pillow knows more, of which some start other programs."""

MAX_SIDE = 65_535
"""Most pixels of a side: what a JPEG can have. To fit a picture takes memory by its longer side alone."""

MAX_RUN_LENGTH_PIXELS = 2**24
"""Most pixels of a BMP with run lengths, whose decoder is Python's: 10,000,000 take a second."""

# TIFF's tags for the sides of its tiles.
_TILE_SIDES = (322, 323)

_LOOKALIKES = {b"<svg": "an SVG drawing", b"<!doctype html": "a web page", b"<html": "a web page", b"%pdf-": "a PDF"}


# Filters are global and others reset them: it is put back where it is missing.
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class PictureError(Exception):
    """Not a picture that is decoded here. The message is for the client, and holds nothing of the decoder's."""


def count_pixels(content: bytes, max_pixels: int) -> int:
    """Pixels of a picture by its header, or of one of its tiles where that is larger; nothing is decoded.

    Raises:
        PictureError: empty, not one of ``FORMATS``, more than ``max_pixels``, or made to keep its decoder busy.
    """
    with _open(content, max_pixels) as image:
        return max(image.width * image.height, _tile_pixels(image))


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
    image: PIL.Image.Image = _open(content, max_pixels)
    try:
        image.load()
    except Exception as error:
        raise _damaged(error) from None
    return turned_upright(image) if upright else image


@dataclass(frozen=True, slots=True)
class Fitted:
    """A picture as the model sees it, and what it was before. Nobody can change it; its length is that of its pixels.

    Attributes:
        pixels: RGB, row by row.
        width: pixels of the picture as people see it.
        height: likewise.
        orientation: EXIF's number, by which it was turned; 1 where it was not.
    """

    pixels: bytes
    width: int
    height: int
    orientation: int

    def __len__(self) -> int:
        return len(self.pixels)


def fit_picture(content: bytes, max_pixels: int, image_size: int, *, upright: bool) -> Fitted:
    """Decode a picture and fit it to a square of ``image_size``.

    Raises:
        PictureError: as :func:`decode_picture`.
    """
    image = decode_picture(content, max_pixels, upright=False)
    orientation = orientation_of(image) if upright else 1
    # Not kept beside the picture that it is turned into.
    image = turned(image, orientation)
    try:
        return Fitted(fit_image(image, image_size).tobytes(), image.width, image.height, orientation)
    except (ValueError, OSError, SyntaxError, MemoryError) as error:
        raise _damaged(error) from None


def fitted_image(fitted: Fitted, image_size: int) -> PIL.Image.Image:
    """The picture as :func:`fit_picture` left it: a new one, which its owner may change."""
    return PIL.Image.frombytes("RGB", (image_size, image_size), fitted.pixels)


def _open(content: bytes, max_pixels: int) -> PIL.ImageFile.ImageFile:
    if not content:
        raise PictureError("the image is empty (0 bytes).")
    if is_crumbled(content):
        raise PictureError("the image is in too many pieces or scans. Save it again with another program.")
    _silence_pillow()
    try:
        image = PIL.Image.open(io.BytesIO(content), formats=FORMATS)
    except PIL.UnidentifiedImageError:
        raise PictureError(f"the image is not in one of the formats {', '.join(FORMATS)}{_hint(content)}.") from None
    except PIL.Image.DecompressionBombError:
        raise PictureError(f"the image must have at most {max_pixels} pixels.") from None
    except Exception as error:
        raise _damaged(error) from None
    _check_size(image, max_pixels)
    return image


def _check_size(image: PIL.ImageFile.ImageFile, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise PictureError(f"the image must have at most {max_pixels} pixels, and has {image.width} x {image.height}.")
    if max(image.size) > MAX_SIDE:
        raise PictureError(
            f"the image must have at most {MAX_SIDE} pixels on each side, and has {image.width} x {image.height}."
        )
    if _tile_pixels(image) > max_pixels:
        raise PictureError(f"the image must have tiles of at most {max_pixels} pixels.")
    run_lengths = any(tile.codec_name == "bmp_rle" for tile in image.tile)
    if run_lengths and image.width * image.height > MAX_RUN_LENGTH_PIXELS:
        raise PictureError(
            f"the image must have at most {MAX_RUN_LENGTH_PIXELS} pixels as a BMP with run lengths. Save it as a PNG."
        )


def _tile_pixels(image: PIL.ImageFile.ImageFile) -> int:
    """Pixels of a tile, which is decoded whole however small the picture; 0 where there are none."""
    if not isinstance(image, PIL.TiffImagePlugin.TiffImageFile):
        return 0
    width, height = (image.tag_v2.get(tag) for tag in _TILE_SIDES)
    # Whatever else they may be, Pillow does not decode.
    return width * height if isinstance(width, int) and isinstance(height, int) else 0


def _silence_pillow() -> None:
    """Keep Pillow from writing about the files of strangers, whose notes it quotes, to standard error and the log."""
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)
        logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _hint(content: bytes) -> str:
    start = content[:1024].lower()
    found = next((kind for mark, kind in _LOOKALIKES.items() if mark in start), None)
    return f", but looks like {found}" if found else ""


def _damaged(error: Exception) -> PictureError:
    # Pillow's decoders raise a dozen kinds of exceptions for damaged files; all of them are the file's fault.
    logger.info("image of a request not decoded: %s", type(error).__name__)
    return PictureError("the image is damaged or truncated.")
