"""Pictures that a person names by path or URL: the file's own bytes, and the picture as it is seen."""

import asyncio
import base64
import io
import stat
import warnings
from pathlib import Path

import httpx
import PIL.Image

from qwenvl.errors import ImageError
from qwenvl.model_executor.picture_files import (
    DOWNLOAD_SECONDS,
    MAX_DOWNLOAD_BYTES,
    decode_picture,
    is_remote,
    local_path,
)
from qwenvl.model_executor.pictures import turned_upright


class Picture:
    """A picture of the conversation.

    Args:
        location: a path or URL, as it was typed.
        content: the file; None for one at a URL, which is downloaded where it is needed.
        media_type: of ``content``.
    """

    def __init__(self, location: str, content: bytes | None = None, media_type: str = "") -> None:
        self.location = location
        self._content = content
        self._media_type = media_type
        self._size: tuple[int, int] | None = None

    @property
    def url(self) -> str:
        """What a server is sent: the URL that was typed, or the file in a data URL, notes of the camera and all."""
        if is_remote(self.location):
            return self.location
        assert self._content is not None
        return f"data:{self._media_type};base64,{base64.b64encode(self._content).decode()}"

    async def upright(self) -> PIL.Image.Image:
        """The picture at its full size, turned as the camera noted.

        Raises:
            ImageError: it cannot be downloaded, or is no picture.
        """
        if self._content is None:
            self._content = await _download(self.location)
        image = await asyncio.to_thread(_decode_upright, self._content, self.location)
        self._size = image.size
        return image

    async def size(self) -> tuple[int, int]:
        """Width and height of the picture as it is seen.

        Raises:
            ImageError: as :meth:`upright`.
        """
        return self._size or (await self.upright()).size


async def read_picture(location: str) -> Picture:
    """The picture at a path or URL. A file is read and looked at now; what is at a URL, later on.

    Raises:
        ImageError: there is no such file, it is too large or no picture; the message names it.
    """
    if is_remote(location):
        return Picture(location)
    content = await asyncio.to_thread(_read_file, location)
    image = await asyncio.to_thread(_decode, content, location)
    picture = Picture(location, content, PIL.Image.MIME.get(image.format or "", "image/png"))
    picture._size = (await asyncio.to_thread(turned_upright, image)).size
    return picture


def _read_file(location: str) -> bytes:
    try:
        path = local_path(location)
        kind = path.stat()
        if stat.S_ISREG(kind.st_mode) and kind.st_size <= MAX_DOWNLOAD_BYTES:
            return path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError(f"cannot read the picture {location}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(kind.st_mode):
        raise ImageError(f"{location} is a folder, not a picture")
    if not stat.S_ISREG(kind.st_mode):
        raise ImageError(f"{location} is not a file")
    raise _too_large(location)


def _decode(content: bytes, location: str) -> PIL.Image.Image:
    with warnings.catch_warnings():
        # Pillow's limit of pixels is for strangers' files, and half of it is no mistake of whoever sits here.
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        return decode_picture(io.BytesIO(content), location)


def _decode_upright(content: bytes, location: str) -> PIL.Image.Image:
    return turned_upright(_decode(content, location))


async def _download(url: str) -> bytes:
    """The file at a URL. Not ``download_picture``: a thread that waits for a server would outlive Ctrl-C."""
    content = bytearray()
    try:
        async with (
            httpx.AsyncClient(follow_redirects=True, timeout=DOWNLOAD_SECONDS) as http,
            http.stream("GET", url) as response,
        ):
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_DOWNLOAD_BYTES:
                    raise _too_large(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ImageError(f"cannot fetch the picture {url}: {_reason(error)}") from error
    return bytes(content)


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the server answered {error.response.status_code} {error.response.reason_phrase}"
    return str(error) or type(error).__name__


def _too_large(location: str) -> ImageError:
    return ImageError(f"the picture {location} is larger than {MAX_DOWNLOAD_BYTES >> 20} MiB")


def is_file(location: str) -> bool:
    """Whether a file of this name is there; False for what cannot be one."""
    try:
        return Path(location).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False
