"""The page's files, read once: what is served is what this process started with, and no path leads to another file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
"""Of the files that are served. Others, such as licences, lie beside them for people to read."""

ASSETS = "web"
"""The folder of all files but the index, as the browser sees it."""

_PLACE = "__ASSETS__"
"""Stands in the index for the folder's address."""


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Page:
    """The page's files by their paths, ``/`` among them.

    Every other path names the version of all files together, so a browser may keep them for ever, and never mixes two
    versions. Modules and style sheets name each other relatively.
    """

    assets: Mapping[str, Asset]

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(self.assets)


def read_page(folder: Path = STATIC) -> Page:
    """The page of a folder.

    Raises:
        OSError: a file cannot be read, or there is no index.
    """
    files = dict(_files(folder))
    version = _digest(*(part for name, content in files.items() for part in (name.encode(), content)))
    place = f"{ASSETS}/{version}"
    # Relative, so that the page also works below a proxy's path.
    index = (folder / INDEX).read_text(encoding="utf-8").replace(_PLACE, place).encode()
    assets = {"/": _asset(INDEX, index)}
    assets |= {f"/{place}/{name}": _asset(name, content) for name, content in files.items() if name != INDEX}
    return Page(assets)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in MEDIA_TYPES:
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _asset(name: str, content: bytes) -> Asset:
    return Asset(content, MEDIA_TYPES[Path(name).suffix], f'"{_digest(content)}"')


def _digest(*parts: bytes) -> str:
    return sha256(b"\0".join(parts)).hexdigest()[:16]
