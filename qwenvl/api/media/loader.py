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
from functools import partial
from typing import TypeVar

import PIL.Image

from qwenvl.api.chat.conversation import ImageReference
from qwenvl.api.media.cache import Key, PictureCache, SharedWork
from qwenvl.api.media.connecting import FetchError, ResponseTooLargeError
from qwenvl.api.media.data_urls import ContentTooLargeError, DataUrlError, decode_data_url
from qwenvl.api.media.decoding import PictureError, count_pixels, fitted_bytes, fitted_image
from qwenvl.api.media.fetching import Fetcher
from qwenvl.api.media.slots import FetchSlots
from qwenvl.api.media.urls import Target, UrlError, read_url
from qwenvl.api.settings import Settings
from qwenvl.errors import ImageError

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

MAX_FETCHES = 4
"""Images of one request fetched at a time."""


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
        self._cache = PictureCache(settings.image_cache_bytes)
        self._decoding = SharedWork()

    async def load(self, references: Sequence[ImageReference], image_size: int) -> tuple[PIL.Image.Image, ...]:
        """Load all images of a request at the same time, of which at most ``MAX_FETCHES`` are fetched.

        Args:
            references: where the images are.
            image_size: side of the square, in pixels, that each is fitted to as soon as it is decoded: no more
                pictures of full size exist than threads decode.

        Returns:
            Pictures as the model sees them, in the order of ``references``; the caller may change them.

        Raises:
            ImageError: one of them is refused; ``param`` says which.
        """
        request = _Request(image_size)
        # All are read before the first is fetched: a request that is refused anyway fetches nothing.
        sources = [self._read(reference) for reference in references]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._load(source, reference, request))
                    for source, reference in zip(sources, references, strict=True)
                ]
        except* ImageError as errors:
            failure = errors.exceptions[0]
        else:
            return tuple(task.result() for task in tasks)
        raise failure

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

    async def _load(self, target: Target | None, reference: ImageReference, request: "_Request") -> PIL.Image.Image:
        try:
            if target is None:
                max_bytes = self._settings.max_image_bytes
                content = await self._in_thread(decode_data_url, reference.url.strip(), max_bytes)
                return await self._picture(content, request.image_size)
            # Both are held until it is decoded, so that what was fetched does not pile up either.
            async with request.fetches, self._slots.slot(request, target.host):
                content = await self._fetch(target, reference)
                return await self._picture(content, request.image_size)
        except DataUrlError as error:
            raise _bad_url(reference, f" {error}") from None
        except PictureError as error:
            raise ImageError(f"{reference.param}: {error}", param=reference.param) from None
        except (ContentTooLargeError, ResponseTooLargeError):
            limit = self._settings.max_image_bytes
            raise ImageError(
                f"{reference.param}: the image is larger than the limit of {limit} bytes.", param=reference.param
            ) from None

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

    async def _picture(self, content: bytes, image_size: int) -> PIL.Image.Image:
        key = (await self._in_thread(_digest, content), image_size, self._settings.apply_exif_orientation)
        pixels = self._cache.get(key) or await self._decoding.run(key, partial(self._decode, content, key))
        return await self._in_thread(fitted_image, pixels, image_size)

    async def _decode(self, content: bytes, key: Key) -> bytes:
        max_pixels = self._settings.max_image_pixels
        work = partial(fitted_bytes, content, max_pixels, key[1], upright=key[2])
        count = await self._in_thread(count_pixels, content, max_pixels)
        # Large ones one at a time: all threads together hold less than two of the largest pictures that are allowed.
        large = count > max_pixels // self._settings.image_threads
        async with self._large if large else nullcontext():
            pixels = await self._in_thread(work)
        self._cache.put(key, pixels)
        return pixels

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


class _Request:
    """What the images of one request have in common."""

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self.fetches = asyncio.Semaphore(MAX_FETCHES)


def _bad_url(reference: ImageReference, reason: str) -> ImageError:
    return ImageError(f"{reference.param}{reason}", param=reference.param, code="invalid_image_url")


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
