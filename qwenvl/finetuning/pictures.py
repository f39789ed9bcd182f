"""Pictures of training data: found beside the data or downloaded once, and looked at before training begins."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
from tqdm import tqdm

from qwenvl.errors import ImageError
from qwenvl.model_executor.picture_files import download_picture, is_remote, open_picture
from qwenvl.model_executor.pictures import turned_upright

CHECKING_THREADS = min(16, 2 * (os.cpu_count() or 1))

DRAFT_SIZE = 32
"""Of the pictures that are only looked at."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Where pictures are found.

    Attributes:
        root: what relative paths begin from.
        cache: directory that pictures of URLs are downloaded to.
        upright: turn them as their EXIF orientation says.
    """

    root: Path
    cache: Path
    upright: bool = True

    def open(self, location: str, *, draft: int | None = None) -> PIL.Image.Image:
        """The whole picture.

        Raises:
            ImageError: it cannot be found or read.
        """
        place = str(self._copy(location)) if is_remote(location) else location
        image = open_picture(place, self.root, draft=draft)
        return turned_upright(image) if self.upright else image

    def problems(self, locations: Iterable[str], *, show_progress: bool) -> Iterator[tuple[str, str]]:
        """Each location that cannot be used, and why. Every file is read whole, many at a time."""
        places = list(dict.fromkeys(locations))
        with ThreadPoolExecutor(CHECKING_THREADS) as pool:
            reasons = tqdm(
                pool.map(self._problem, places),
                total=len(places),
                desc="checking pictures",
                unit="picture",
                disable=not show_progress,
                leave=False,
            )
            yield from ((place, reason) for place, reason in zip(places, reasons, strict=True) if reason is not None)

    def _problem(self, location: str) -> str | None:
        try:
            self.open(location, draft=DRAFT_SIZE)
        except ImageError as error:
            return error.message
        return None

    def _copy(self, url: str) -> Path:
        # A name of our own: whatever the URL says, the file stays inside the cache.
        path = self.cache.resolve() / hashlib.sha256(url.encode()).hexdigest()
        if not path.exists():
            content = download_picture(url)
            self.cache.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.cache, prefix=".", delete=False) as file:
                file.write(content)
            # Whole or not at all, also where several processes want the same URL.
            Path(file.name).replace(path)
        return path
