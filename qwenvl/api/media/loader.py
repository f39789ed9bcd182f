"""Image references to pictures: data URLs decoded, http(s) URLs fetched within limits.

A reference is never a path. What can go wrong on the way to another host is reported in one and the same sentence:
a caller must not learn from it which hosts and ports there are inside. The log has the host and the kind of failure,
never the URL: its path and query may be a key to the picture.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import PIL.Image

from qwenvl.api.media.cache import Key, PictureCache, SharedWork
from qwenvl.api.media.connecting import FetchError, ResponseTooLargeError
from qwenvl.api.media.data_urls import ContentTooLargeError, DataUrlError, decode_data_url
from qwenvl.api.media.decoding import (
    Fitted,
    PictureError,
    count_pixels,
    decode_picture,
    fit_picture,
    fitted_image,
)
from qwenvl.api.media.fetching import Fetcher
from qwenvl.api.media.references import ImageReference
from qwenvl.api.media.slots import FetchSlots
from qwenvl.api.media.urls import Target, UrlError, read_url
from qwenvl.api.settings import Settings
from qwenvl.errors import ImageError

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

MAX_FETCHES = 4
"""Images of one request fetched at a time."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a request.

    Attributes:
        image: as the model sees it; whoever has it may change it.
        width: pixels of the picture as people see it, turned upright where that is asked for.
        height: likewise.
        orientation: EXIF's number, by which it was turned; 1 where it was not.
        file: the encoded picture, where it was to be kept.
    """

    image: PIL.Image.Image
    width: int
    height: int
    orientation: int
    file: bytes | None = None


class ImageLoader:
    """Loads the images of requests; one for each server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fetcher = Fetcher(
            max_bytes=settings.max_image_bytes,
            max_fetches=settings.image_fetches,
            domains=settings.image_domains,
            allow_private_addresses=settings.allow_private_addresses,
        )
        self._slots = FetchSlots(settings.image_fetches)
        self._threads = ThreadPoolExecutor(settings.image_threads, "images")
        self._free_threads = asyncio.Semaphore(settings.image_threads)
        self._large = asyncio.Lock()
        self._cache: PictureCache[Fitted] = PictureCache(settings.image_cache_bytes)
        self._decoding: SharedWork[Fitted] = SharedWork()

    async def load(
        self, references: Sequence[ImageReference], image_size: int, *, keep_files: bool = False
    ) -> tuple[Picture, ...]:
        """Load all images of a request at the same time, of which at most ``MAX_FETCHES`` are fetched.

        Args:
            references: where the images are.
            image_size: side of the square, in pixels, that each is fitted to as soon as it is decoded: no more
                pictures of full size exist than threads decode.
            keep_files: hand out the encoded pictures too, as long as those are fetched and held anyway.

        Returns:
            Pictures in the order of ``references``.

        Raises:
            ImageError: one of them is refused; ``param`` says which.
        """
        request = _Request(image_size, keep_files)
        # All are read before the first is fetched: a request that is refused anyway fetches nothing.
        sources = [self._read(reference) for reference in references]
        outcome = await _all_or_refusal(
            [
                asyncio.create_task(self._load(source, reference, request))
                for source, reference in zip(sources, references, strict=True)
            ]
        )
        if isinstance(outcome, ImageError):
            try:
                raise outcome
            finally:
                del outcome
        return outcome

    async def large_picture(self, file: bytes, longest: int) -> PIL.Image.Image:
        """A picture of a request as people see it: RGB, made smaller where a side has more than ``longest`` pixels.

        Args:
            file: the encoded picture, which was decoded before.
            longest: side in pixels.
        """
        count = await self._in_thread(count_pixels, file, self._settings.max_image_pixels)
        async with self._large if self._is_large(count) else nullcontext():
            return await self._in_thread(self._shrink, file, longest)

    def _shrink(self, file: bytes, longest: int) -> PIL.Image.Image:
        upright = self._settings.apply_exif_orientation
        image = decode_picture(file, self._settings.max_image_pixels, upright=upright).convert("RGB")
        image.thumbnail((longest, longest))
        return image

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._fetcher.aclose()

    def _read(self, reference: ImageReference) -> Target | None:
        """Where to fetch the image; None for a data URL."""
        url = reference.url.strip()
        scheme = url[:32].partition(":")[0].lower()
        if scheme == "data":
            return None
        if scheme not in ("http", "https"):
            raise _bad_url(reference, " must be an http or https URL, or a data URL with base64 content.")
        try:
            target = read_url(url)
            self._fetcher.check(target)
        except UrlError as error:
            raise _bad_url(reference, f": {error}") from None
        return target

    async def _load(
        self, target: Target | None, reference: ImageReference, request: "_Request"
    ) -> "Picture | ImageError":
        """The picture, or why it is refused: as a value, since an exception keeps what its frames held."""
        try:
            if target is None:
                url = reference.url.strip()
                read = partial(decode_data_url, url, self._settings.max_image_bytes)
                return await self._picture(read, request)
            # Both are held until it is decoded, so that what was fetched does not pile up either.
            async with request.fetches, self._slots.slot(request, target.host):
                content = await self._fetch(target, reference)
                return await self._picture(lambda: content, request)
        except DataUrlError as error:
            refusal = _bad_url(reference, f" {error}")
        except PictureError as error:
            refusal = ImageError(f"{reference.param}: {error}", param=reference.param)
        except (ContentTooLargeError, ResponseTooLargeError):
            limit = self._settings.max_image_bytes
            refusal = ImageError(
                f"{reference.param}: the image is larger than the limit of {limit} bytes.", param=reference.param
            )
        except ImageError as error:
            refusal = error.with_traceback(None)
        return _forgetful(refusal)

    async def _fetch(self, target: Target, reference: ImageReference) -> bytes:
        try:
            async with asyncio.timeout(self._settings.image_timeout):
                return await self._fetcher.get(target)
        except ResponseTooLargeError:
            raise
        except (FetchError, TimeoutError) as error:
            logger.info("image not fetched from %s: %s", target.host, str(error) or "timed out")
            raise _bad_url(
                reference,
                ": could not fetch the image. Check that the URL is public and answers with an image within "
                f"{self._settings.image_timeout:g} seconds.",
            ) from None

    async def _picture(self, read: Callable[[], bytes], request: "_Request") -> Picture:
        # Every change of threads costs milliseconds on a machine that is busy: two for a new picture, one for a known.
        examined = await self._in_thread(self._examine, read, request.image_size)
        # Looked for again: whoever decoded it meanwhile is done.
        known = examined.fitted or self._cache.get(examined.key)
        fitted = known or await self._decoding.run(examined.key, partial(self._decode, examined))
        image = fitted_image(fitted, request.image_size)
        file = examined.content if request.keeps_files else None
        return Picture(image, fitted.width, fitted.height, fitted.orientation, file)

    def _examine(self, read: Callable[[], bytes], image_size: int) -> "_Examined":
        content = read()
        key = (hashlib.sha256(content).digest(), image_size, self._settings.apply_exif_orientation)
        fitted = self._cache.get(key)
        count = 0 if fitted else count_pixels(content, self._settings.max_image_pixels)
        return _Examined(content, key, fitted, count)

    async def _decode(self, picture: "_Examined") -> Fitted:
        _, image_size, upright = picture.key
        work = partial(fit_picture, picture.content, self._settings.max_image_pixels, image_size, upright=upright)
        async with self._large if self._is_large(picture.count) else nullcontext():
            fitted = await self._in_thread(work)
        self._cache.put(picture.key, fitted)
        return fitted

    def _is_large(self, count: int) -> bool:
        """Those are decoded one at a time: all threads together hold less than two of the largest that are allowed."""
        return count > self._settings.max_image_pixels // self._settings.image_threads

    async def _in_thread(self, work: Callable[..., ResultT], *args: object) -> ResultT:
        """Run ``work`` in one of the threads.

        Once it has begun it is waited for, cancelled or not: a thread cannot be stopped, and what it holds counts.
        """
        async with self._free_threads:
            done = asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args))
            try:
                return await asyncio.shield(done)
            finally:
                if not done.done():
                    await asyncio.wait((done,))
                # An exception in it holds this frame.
                del done


@dataclass(frozen=True, slots=True)
class _Examined:
    """An encoded picture: its key, the fitted one where the cache has it, else how many pixels it will have."""

    content: bytes
    key: Key
    fitted: Fitted | None
    count: int


class _Request:
    """What the images of one request have in common."""

    def __init__(self, image_size: int, keeps_files: bool) -> None:
        self.image_size = image_size
        self.keeps_files = keeps_files
        self.fetches = asyncio.Semaphore(MAX_FETCHES)


async def _all_or_refusal(tasks: "list[asyncio.Task[Picture | ImageError]]") -> tuple[Picture, ...] | ImageError:
    """All pictures, or the first refusal, at which the others are given up."""
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if isinstance(refusal := task.result(), ImageError):
                    return refusal
        return tuple(picture for task in tasks if not isinstance(picture := task.result(), ImageError))
    finally:
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)


def _forgetful(refusal: ImageError) -> ImageError:
    """Without what was in work when it came up: a picture may be large, and is not to live as long as its refusal."""
    refusal.__context__ = refusal.__cause__ = None
    return refusal


def _bad_url(reference: ImageReference, reason: str) -> ImageError:
    return ImageError(f"{reference.param}{reason}", param=reference.param, code="invalid_image_url")
