import asyncio
import base64
import io
import struct
import threading
import weakref
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import PIL.Image
import pytest
import pytest_asyncio

from qwenvl.api import Settings, fetching, media
from qwenvl.api.chat.conversation import ImageReference
from qwenvl.api.media.loader import FORMATS, MAX_FETCHES, ImageLoader, decode_data_url, decode_image
from qwenvl.errors import ImageError
from qwenvl.model_executor.pictures import fit_image
from tests.api.live import Pictures, data_url

PARAM = "messages[0].content[1].image_url.url"
SIZE = 448


@pytest_asyncio.fixture
async def loader() -> AsyncIterator[ImageLoader]:
    loader = ImageLoader(Settings(allow_private_addresses=True, image_timeout=5, max_image_bytes=100_000))
    yield loader
    await loader.aclose()


def encoded(image: PIL.Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to nothing inside."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


async def test_order_and_sources(loader: ImageLoader, images: Path) -> None:
    names = [f"{name}" for name in ("a.png", "b.jpg", "c.png", "d.png", "e.png")]
    async with Pictures(images) as pictures:
        references = [
            ImageReference(f"{pictures.url}/{name}" if i % 2 else data_url((images / name).read_bytes()), PARAM)
            for i, name in enumerate(names)
        ]
        loaded = await loader.load(references, SIZE)
    for name, image in zip(names, loaded, strict=True):
        with PIL.Image.open(images / name) as wanted:
            assert (image.mode, image.size) == ("RGB", (SIZE, SIZE))
            assert image.tobytes() == fit_image(wanted, SIZE).tobytes() == fit_image(image, SIZE).tobytes()


async def test_no_more_pictures_of_full_size_than_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: list[weakref.ref[PIL.Image.Image]] = []
    alive, threads = [], set()

    def watched(image: PIL.Image.Image, size: int) -> PIL.Image.Image:
        pictures.append(weakref.ref(image))
        alive.append(sum(picture() is not None for picture in pictures))
        threads.add(threading.current_thread())
        return fit_image(image, size)

    monkeypatch.setattr(media, "fit_image", watched)
    loader = ImageLoader(Settings(image_threads=1))
    contents = [encoded(PIL.Image.new(mode, (1000, 1000)), "PNG") for mode in ("RGB", "P", "1", "L") * 2]
    loaded = await loader.load([ImageReference(data_url(content), PARAM) for content in contents], SIZE)
    await loader.aclose()
    assert {image.size for image in loaded} == {(SIZE, SIZE)}
    assert alive == [1] * 8
    assert threading.main_thread() not in threads


async def test_one_request_leaves_connections_to_others(monkeypatch: pytest.MonkeyPatch, images: Path) -> None:
    monkeypatch.setattr(fetching, "MAX_CONNECTIONS", 8)
    loader = ImageLoader(Settings(allow_private_addresses=True, image_timeout=5))
    async with Pictures(images) as pictures:
        slow = asyncio.create_task(loader.load([ImageReference(f"{pictures.url}/silent", PARAM)] * 16, SIZE))
        await pictures.asked.wait()
        (image,) = await loader.load([ImageReference(f"{pictures.url}/a.png", PARAM)], SIZE)
        assert image.size == (SIZE, SIZE)
        assert pictures.paths.count("/silent") <= MAX_FETCHES
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
    await loader.aclose()


@pytest.mark.parametrize("path", ["missing.png", "garbage", "hops/4", "redirect/file:///etc/passwd"])
async def test_every_failed_fetch_reads_the_same(loader: ImageLoader, images: Path, path: str) -> None:
    async with Pictures(images) as pictures:
        with pytest.raises(ImageError) as caught:
            await loader.load([ImageReference(f"{pictures.url}/{path}", PARAM)], SIZE)
    assert caught.value.param == PARAM
    assert caught.value.message == (
        f"{PARAM}: could not fetch the image. Check that the URL is public and answers with an image within 5 seconds."
    )


async def test_deadline(images: Path) -> None:
    loader = ImageLoader(Settings(allow_private_addresses=True, image_timeout=0.05))
    async with Pictures(images) as pictures:
        with pytest.raises(ImageError, match="could not fetch the image"):
            await loader.load([ImageReference(f"{pictures.url}/silent", PARAM)], SIZE)
    await loader.aclose()


async def test_one_failure_ends_the_other_fetches(loader: ImageLoader, images: Path) -> None:
    async with Pictures(images) as pictures, asyncio.timeout(4):
        with pytest.raises(ImageError, match="http or https"):
            await loader.load(
                [ImageReference(f"{pictures.url}/silent", "first"), ImageReference("file:///x", PARAM)], SIZE
            )


async def test_too_many_bytes(loader: ImageLoader, images: Path) -> None:
    async with Pictures(images) as pictures:
        for url in (f"{pictures.url}/endless", data_url(b"\0" * 100_001), data_url(b"\0" * 1_000_001)):
            with pytest.raises(ImageError, match="larger than the limit of 100000 bytes"):
                await loader.load([ImageReference(url, PARAM)], SIZE)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd", "a.png", "gopher://x/", "javascript:1", ""])
async def test_other_schemes(loader: ImageLoader, url: str) -> None:
    with pytest.raises(ImageError, match="must be an http or https URL, or a data URL"):
        await loader.load([ImageReference(url, PARAM)], SIZE)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,aGVsbG8=",
        "DATA:;BASE64,aGVsbG8=",
        "data:image/svg+xml;charset=utf-8;base64,aGVsbG8=",
        "data:image/png;base64,aGVs\nbG8=",
        "data:image/png;base64,aGVs%0AbG8%3D",
    ],
)
def test_data_urls(url: str) -> None:
    assert decode_data_url(url, 100, PARAM) == b"hello"


@pytest.mark.parametrize(
    "url",
    ["data:image/png,aGVsbG8=", "data:image/png;base64", "data:image/png;base64,aGVsbG8", "data:;base64,a-_=", "data:"],
)
def test_bad_data_urls(url: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_data_url(url, 100, PARAM)
    assert caught.value.param == PARAM


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind: str) -> None:
    image = decode_image(encoded(PIL.Image.new("RGB", (5, 3), "red"), kind), 100, PARAM)
    assert image.size == (5, 3)
    image.convert("RGB")


@pytest.mark.parametrize("kind", ["PPM", "ICO", "PDF", "EPS", "PCX", "TGA"])
def test_other_formats(kind: str) -> None:
    with pytest.raises(ImageError, match="is not an image in one of the formats JPEG, PNG"):
        decode_image(encoded(PIL.Image.new("RGB", (5, 3)), kind), 100, PARAM)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_first_frame(kind: str) -> None:
    frames = [PIL.Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode_image(content, 100, PARAM).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_orientation_is_left_alone() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encoded(PIL.Image.new("RGB", (5, 3)), "JPEG", exif=exif), 100, PARAM).size == (5, 3)


@pytest.mark.parametrize("name", ["a.png", "b.jpg"])
def test_truncated(images: Path, name: str) -> None:
    content = (images / name).read_bytes()
    for length in (len(content) // 2, len(content) - 100):
        with pytest.raises(ImageError, match="damaged or truncated"):
            decode_image(content[:length], 10**6, PARAM)


@pytest.mark.parametrize("content", [b"\0" * 100, b"<svg/>", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_garbage(content: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(content, 100, PARAM)


def test_empty() -> None:
    with pytest.raises(ImageError, match="0 bytes"):
        decode_image(b"", 100, PARAM)


@pytest.mark.parametrize(("width", "height"), [(11, 10), (5000, 5000), (100_000, 100_000)])
def test_pixels_are_counted_before_decoding(width: int, height: int) -> None:
    with pytest.raises(ImageError, match="at most 100 pixels"):
        decode_image(png_header(width, height), 100, PARAM)


def test_data_url_of_the_largest_size() -> None:
    content = b"\1" * 1000
    assert decode_data_url(f"data:;base64,{base64.b64encode(content).decode()}", 1000, PARAM) == content
