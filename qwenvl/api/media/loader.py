"""Image references to pictures: data URLs decoded, http(s) URLs fetched within limits.

A reference is never a path. What can go wrong on the way to another host is reported in one and the same sentence:
a caller must not learn from it which hosts and ports there are inside. The log has the reason.
"""

import asyncio
import base64
import binascii
import io
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
import PIL.Image

from qwenvl.api.chat.conversation import ImageReference
from qwenvl.api.media.fetching import Fetcher, FetchError, ResponseTooLargeError
from qwenvl.api.settings import Settings
from qwenvl.errors import ImageError
from qwenvl.model_executor.pictures import fit_image

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is decoded. Pillow knows more, of which some start other programs."""

MAX_FETCHES = 4
"""Images of one request fetched at a time: slow hosts of one request must not take every connection there is."""

_FORMATS = ", ".join(FORMATS)

_WHITESPACE = b" \t\r\n"
# What base64 content may hold that some clients write in percent-encoding.
_ENCODED = {b"%0a": b"", b"%0d": b"", b"%20": b"", b"%2b": b"+", b"%2f": b"/", b"%3d": b"="}


class ImageLoader:
    """Loads the images of requests; one for each server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fetcher = Fetcher(allow_private_addresses=settings.allow_private_addresses)
        self._threads = anyio.CapacityLimiter(settings.image_threads)

    async def load(self, references: Sequence[ImageReference], image_size: int) -> tuple[PIL.Image.Image, ...]:
        """Load all images of a request at the same time, of which at most ``MAX_FETCHES`` are fetched.

        Args:
            references: where the images are.
            image_size: side of the square, in pixels, that each is fitted to as soon as it is decoded: no more
                pictures of full size exist than threads decode.

        Returns:
            Pictures as the model sees them, in the order of ``references``.

        Raises:
            ImageError: one of them is refused; ``param`` says which.
        """
        fetches = asyncio.Semaphore(MAX_FETCHES)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._load(reference, image_size, fetches)) for reference in references]
        except* ImageError as errors:
            failure = errors.exceptions[0]
        else:
            return tuple(task.result() for task in tasks)
        raise failure

    async def aclose(self) -> None:
        await self._fetcher.aclose()

    async def _load(self, reference: ImageReference, image_size: int, fetches: asyncio.Semaphore) -> PIL.Image.Image:
        url = reference.url.strip()
        scheme = url[:32].partition(":")[0].lower()
        if scheme in ("http", "https"):
            # Held until it is decoded, so that what was fetched does not pile up either.
            async with fetches:
                return await self._picture(await self._fetch(url, reference.param), image_size, reference.param)
        if scheme == "data":
            content = await self._in_thread(decode_data_url, url, self._settings.max_image_bytes, reference.param)
            return await self._picture(content, image_size, reference.param)
        raise ImageError(
            f"{reference.param} must be an http or https URL, or a data URL with base64 content.",
            param=reference.param,
            code="invalid_image_url",
        )

    async def _picture(self, content: bytes, image_size: int, param: str) -> PIL.Image.Image:
        return await self._in_thread(_fitted, content, self._settings.max_image_pixels, image_size, param)

    async def _fetch(self, url: str, param: str) -> bytes:
        try:
            async with asyncio.timeout(self._settings.image_timeout):
                return await self._fetcher.get(url, max_bytes=self._settings.max_image_bytes)
        except ResponseTooLargeError:
            raise _too_large(self._settings.max_image_bytes, param) from None
        except (FetchError, TimeoutError) as error:
            logger.info("image of a request not fetched: %s", str(error) or "timed out")
            raise ImageError(
                f"{param}: could not fetch the image. Check that the URL is public and answers with an image within "
                f"{self._settings.image_timeout:g} seconds.",
                param=param,
                code="invalid_image_url",
            ) from None

    async def _in_thread(self, work: Callable[..., ResultT], *args: object) -> ResultT:
        return await anyio.to_thread.run_sync(partial(work, *args), limiter=self._threads)


def decode_data_url(url: str, max_bytes: int, param: str) -> bytes:
    """The content of a base64 data URL. Its media type is not believed: the content says what it is.

    Raises:
        ImageError: not base64, or more than ``max_bytes``.
    """
    head, comma, encoded_content = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise ImageError(
            f"{param} must be a data URL of the form data:image/png;base64,<content>.",
            param=param,
            code="invalid_image_url",
        )
    try:
        letters = encoded_content.encode("ascii").translate(None, _WHITESPACE)
        for code, letter in _ENCODED.items() if b"%" in letters else ():
            letters = letters.replace(code, letter).replace(code.upper(), letter)
        if len(letters) > 4 * (max_bytes // 3 + 1):
            raise _too_large(max_bytes, param)
        content = base64.b64decode(letters, validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ImageError(f"{param}: the content of the data URL is not valid base64.", param=param) from None
    if len(content) > max_bytes:
        raise _too_large(max_bytes, param)
    return content


def decode_image(content: bytes, max_pixels: int, param: str) -> PIL.Image.Image:
    """Decode the first frame of a picture whose header keeps to ``max_pixels``.

    Raises:
        ImageError: empty, not one of ``FORMATS``, damaged, or too many pixels.
    """
    if not content:
        raise ImageError(f"{param}: the image is empty (0 bytes).", param=param)
    try:
        image = PIL.Image.open(io.BytesIO(content), formats=FORMATS)
    except PIL.UnidentifiedImageError:
        raise ImageError(f"{param} is not an image in one of the formats {_FORMATS}.", param=param) from None
    except PIL.Image.DecompressionBombError:
        raise _too_many_pixels(max_pixels, param) from None
    except Exception as error:
        raise _damaged(error, param) from None
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(max_pixels, param, f", and has {image.width} x {image.height}")
    try:
        image.load()
    except Exception as error:
        raise _damaged(error, param) from None
    return image


def _fitted(content: bytes, max_pixels: int, image_size: int, param: str) -> PIL.Image.Image:
    return fit_image(decode_image(content, max_pixels, param), image_size)


def _damaged(error: Exception, param: str) -> ImageError:
    # Pillow's decoders raise a dozen kinds of exceptions for damaged files; all of them are the file's fault.
    logger.info("image of a request not decoded: %s: %s", type(error).__name__, error)
    return ImageError(f"{param}: the image is damaged or truncated.", param=param)


def _too_large(max_bytes: int, param: str) -> ImageError:
    return ImageError(f"{param}: the image is larger than the limit of {max_bytes} bytes.", param=param)


def _too_many_pixels(max_pixels: int, param: str, found: str = "") -> ImageError:
    return ImageError(f"{param}: the image must have at most {max_pixels} pixels{found}.", param=param)
