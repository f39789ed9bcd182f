import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import PIL.Image
import pytest
import pytest_asyncio

from qwenvl.api import Settings
from qwenvl.api.media import decoding
from qwenvl.api.media.loader import MAX_FETCHES, ImageLoader
from qwenvl.api.media.references import ImageReference
from qwenvl.errors import ImageError
from qwenvl.model_executor.pictures import fit_image
from tests.api.hostile import SIGNATURE, Hostile
from tests.api.live import Pictures, data_url
from tests.api.media.files import SIZE, colorful, encoded, oriented, png_header, reference

PARAM = "messages[0].content[1].image_url.url"


@pytest_asyncio.fixture
async def loader() -> AsyncIterator[ImageLoader]:
    loader = ImageLoader(Settings(allow_private_addresses=True, image_timeout=5, max_image_bytes=100_000))
    yield loader
    await loader.aclose()


async def load(loader: ImageLoader, *urls: str) -> list[bytes]:
    references = [ImageReference(url, PARAM) for url in urls]
    return [picture.image.tobytes() for picture in await loader.load(references, SIZE)]


async def test_order_and_sources(loader: ImageLoader, images: Path) -> None:
    names = ("a.png", "b.jpg", "c.png", "d.png", "e.png")
    async with Pictures(images) as pictures:
        references = [
            ImageReference(f" {pictures.url}/{name}\n" if i % 2 else data_url((images / name).read_bytes()), PARAM)
            for i, name in enumerate(names)
        ]
        loaded = await loader.load(references, SIZE)
    for name, picture in zip(names, loaded, strict=True):
        image = picture.image
        with PIL.Image.open(images / name) as wanted:
            assert (picture.width, picture.height, picture.orientation, picture.file) == (*wanted.size, 1, None)
            assert (image.mode, image.size) == ("RGB", (SIZE, SIZE))
            assert image.tobytes() == fit_image(wanted, SIZE).tobytes() == fit_image(image, SIZE).tobytes()


@pytest.mark.parametrize("upright", [True, False])
async def test_orientation_is_a_setting(upright: bool) -> None:
    loader = ImageLoader(Settings(apply_exif_orientation=upright))
    content = oriented("JPEG", 6)
    assert await load(loader, data_url(content)) == [reference(content, upright=upright)]
    await loader.aclose()


async def test_no_more_pictures_of_full_size_than_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: list[weakref.ref[PIL.Image.Image]] = []
    alive, threads = [], set()

    def watched(image: PIL.Image.Image, size: int) -> PIL.Image.Image:
        pictures.append(weakref.ref(image))
        alive.append(sum(picture() is not None for picture in pictures))
        threads.add(threading.current_thread())
        return fit_image(image, size)

    monkeypatch.setattr(decoding, "fit_image", watched)
    loader = ImageLoader(Settings(image_threads=1, image_cache_bytes=0))
    modes = ("RGB", "P", "1", "L")
    contents = [encoded(PIL.Image.new(mode, (1000 + i, 1000)), "PNG") for i in range(2) for mode in modes]
    await load(loader, *map(data_url, contents))
    await loader.aclose()
    assert alive == [1] * 8
    assert threading.main_thread() not in threads


class Threads:
    """Holds decoding threads until they may go on, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = self.all = 0
        self.may_go_on = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._lock = threading.Lock()
        self._decode = decoding.decode_picture
        monkeypatch.setattr(decoding, "decode_picture", self._held)

    def _held(self, content: bytes, max_pixels: int, *, upright: bool) -> PIL.Image.Image:
        self._count(1)
        try:
            assert self.may_go_on.wait(20)
            return self._decode(content, max_pixels, upright=upright)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self.now += change
            self.all += change > 0
            self.most = max(self.most, self.now)
        self._loop.call_soon_threadsafe(self._changed.set)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.now != count:
                self._changed.clear()
                await self._changed.wait()


async def test_large_pictures_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(monkeypatch)
    loader = ImageLoader(Settings(image_threads=4, max_image_pixels=4000))
    large = [data_url(encoded(colorful(60, 60 + i), "PNG")) for i in range(3)]
    small = [data_url(encoded(colorful(9, 9 + i), "PNG")) for i in range(2)]
    loading = asyncio.create_task(load(loader, *large, *small))
    await threads.until(3)
    threads.may_go_on.set()
    assert len(await loading) == 5
    await loader.aclose()
    assert threads.most == 3


async def test_clients_that_leave_do_not_free_threads_that_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(monkeypatch)
    loader = ImageLoader(Settings(image_threads=2))
    leaving = [asyncio.create_task(load(loader, data_url(encoded(colorful(9, 9 + i), "PNG")))) for i in range(8)]
    await threads.until(2)
    for task in leaving:
        task.cancel()
    staying = asyncio.create_task(load(loader, data_url(encoded(colorful(), "PNG"))))
    threads.may_go_on.set()
    assert await staying == [reference(encoded(colorful(), "PNG"))]
    assert all(
        isinstance(left, asyncio.CancelledError) for left in await asyncio.gather(*leaving, return_exceptions=True)
    )
    await loader.aclose()
    assert (threads.most, threads.all) == (2, 3)


async def test_equal_images_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(monkeypatch)
    loader = ImageLoader(Settings(image_threads=2))
    url = data_url(encoded(colorful(), "PNG"))
    first, second = (asyncio.create_task(loader.load([ImageReference(url, PARAM)] * 2, SIZE)) for _ in range(2))
    await threads.until(1)
    threads.may_go_on.set()
    loaded = [*await first, *await second, *await loader.load([ImageReference(url, PARAM)], SIZE)]
    pictures = [picture.image for picture in loaded]
    await loader.aclose()
    assert threads.all == 1
    assert len({image.tobytes() for image in pictures}) == 1
    pictures[0].paste("black", (0, 0, SIZE, SIZE))
    assert len({image.tobytes() for image in pictures[1:]}) == 1


async def test_palettes_and_modes_are_not_mixed_up(loader: ImageLoader) -> None:
    """Pictures of equal indices: the cache must not take one palette for the other."""
    first = PIL.Image.new("P", (8, 8), 1)
    first.putpalette([0, 0, 0, 255, 0, 0])
    second = first.copy()
    second.putpalette([0, 0, 0, 0, 0, 255])
    grey = PIL.Image.frombytes("L", (8, 8), first.tobytes())
    contents = [encoded(image, "PNG") for image in (first, second, grey)]
    for _ in range(2):
        assert await load(loader, *map(data_url, contents)) == list(map(reference, contents))


async def test_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(monkeypatch)
    threads.may_go_on.set()
    loader = ImageLoader(Settings(image_cache_bytes=0))
    for _ in range(2):
        await load(loader, data_url(encoded(colorful(), "PNG")))
    await loader.aclose()
    assert threads.all == 2


async def test_one_request_leaves_connections_to_others(images: Path) -> None:
    loader = ImageLoader(Settings(allow_private_addresses=True, image_timeout=5, image_fetches=32))
    async with Pictures(images) as pictures:
        slow = asyncio.create_task(load(loader, *[f"{pictures.url}/silent"] * 16))
        await pictures.asked.wait()
        assert len(await load(loader, f"{pictures.url}/a.png")) == 1
        assert pictures.paths.count("/silent") <= MAX_FETCHES
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
    await loader.aclose()


async def test_slow_hosts_leave_connections_to_others() -> None:
    loader = ImageLoader(Settings(allow_private_addresses=True, image_timeout=20, image_fetches=4))
    async with Hostile() as slow, Hostile(encoded(colorful(), "PNG")) as quick:
        waiting = [
            asyncio.create_task(load(loader, f"{slow.url}/silent".replace("127.0.0.1", "localhost"))) for _ in range(16)
        ]
        await slow.asked.wait()
        assert len(await load(loader, f"{quick.url}/a.png", f"{quick.url}/b.png")) == 2
        assert slow.paths == ["/silent"]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await loader.aclose()


@pytest.mark.parametrize(
    "path", ["status/404", "garbage", "hops/4", "redirect/file:///etc/passwd", "redirect/http://10.0.0.1:22/", "gzip"]
)
async def test_every_failed_fetch_reads_the_same(
    loader: ImageLoader, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "qwenvl")
    async with Hostile() as hostile:
        with pytest.raises(ImageError) as caught:
            await load(loader, f"{hostile.url}/{path}{SIGNATURE}")
    assert (caught.value.param, caught.value.code) == (PARAM, "invalid_image_url")
    assert caught.value.message == (
        f"{PARAM}: could not fetch the image. Check that the URL is public and answers with an image within 5 seconds."
    )
    assert "image not fetched from 127.0.0.1" in caplog.text
    assert "secret" not in caplog.text
    assert path not in caplog.text


async def test_deadline() -> None:
    loader = ImageLoader(Settings(allow_private_addresses=True, image_timeout=0.05))
    async with Hostile(b"x" * 100) as hostile:
        for path in ("silent", "slow", "drip"):
            with pytest.raises(ImageError, match="could not fetch the image"):
                await load(loader, f"{hostile.url}/{path}")
    await loader.aclose()


async def test_what_is_refused_anyway_fetches_nothing(loader: ImageLoader) -> None:
    async with Hostile() as hostile:
        with pytest.raises(ImageError, match="http or https"):
            await load(loader, f"{hostile.url}/silent", "file:///x")
        assert hostile.paths == []


async def test_one_failure_ends_the_other_fetches(loader: ImageLoader) -> None:
    async with Hostile() as hostile, asyncio.timeout(4):
        with pytest.raises(ImageError, match="valid base64"):
            await load(loader, f"{hostile.url}/silent", "data:;base64,*")


async def test_too_many_bytes(loader: ImageLoader) -> None:
    async with Hostile() as hostile:
        for url in (f"{hostile.url}/zeros", data_url(b"\0" * 100_001), data_url(b"\0" * 1_000_001)):
            with pytest.raises(ImageError, match="larger than the limit of 100000 bytes") as caught:
                await load(loader, url)
            assert caught.value.param == PARAM


async def test_too_many_pixels(loader: ImageLoader) -> None:
    with pytest.raises(ImageError, match=r"at most 89478485 pixels, and has 13000 x 13000") as caught:
        await load(loader, data_url(png_header(13_000, 13_000)))
    assert (caught.value.param, caught.value.code) == (PARAM, "invalid_image")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "must be an http or https URL, or a data URL"),
        ("/etc/passwd", "must be an http or https URL, or a data URL"),
        ("a.png", "must be an http or https URL, or a data URL"),
        ("gopher://x/", "must be an http or https URL, or a data URL"),
        ("javascript:1", "must be an http or https URL, or a data URL"),
        ("", "must be an http or https URL, or a data URL"),
        ("http://me@x/", "must not have a user name"),
        ("http://x/ y", "no spaces"),
        ("data:image/png,x", "must be a data URL of the form"),
    ],
)
async def test_bad_urls(loader: ImageLoader, url: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        await load(loader, url)
    assert (caught.value.param, caught.value.code) == (PARAM, "invalid_image_url")


async def test_a_refused_picture_is_forgotten_with_its_refusal() -> None:
    """Without the garbage collector, which may look much later."""
    loader = ImageLoader(Settings())
    content = b"junk" * 250_000
    gc.collect()
    gc.disable()
    try:
        for spoiled in range(3):
            url = data_url(content + bytes([spoiled]))
            with pytest.raises(ImageError):
                await loader.load([ImageReference(url=url, param="image"), ImageReference(url=url, param="other")], 448)
            del url
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        held = {
            id(held): len(held)
            for garbage in gc.garbage
            for held in gc.get_referents(garbage)
            if isinstance(held, bytes | str) and len(held) > 100_000
        }
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        await loader.aclose()
    assert not held
