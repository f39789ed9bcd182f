import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwenvl.errors import ImageError
from qwenvl.terminal import pictures
from qwenvl.terminal.pictures import read_picture
from tests.file_site import file_site
from tests.terminal.talking import save_picture


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    with file_site(tmp_path) as url:
        yield url


async def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "a photo.jpg", orientation=6)
    for location in (str(path), path.as_uri()):
        picture = await read_picture(location)
        assert picture.url == f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
        assert await picture.size() == (100, 200), "as it is seen"
        assert (await picture.upright()).size == (100, 200)


async def test_a_url_is_passed_on_and_fetched_when_needed(tmp_path: Path, site: str) -> None:
    picture = await read_picture(f"{site}/a.png")
    assert picture.url == f"{site}/a.png"
    save_picture(tmp_path / "a.png")
    assert await picture.size() == (200, 100)
    (tmp_path / "a.png").unlink()
    assert (await picture.upright()).size == (200, 100), "it is fetched once"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.png", "cannot read the picture .*missing.png: No such file"),
        ("", "is a folder, not a picture"),
        ("pipe", "is not a file"),
        ("text.png", "text.png is not a picture that Pillow reads"),
        ("cut.png", "cut.png"),
        ("nul\0", "cannot read the picture"),
        ("large.png", "is larger than 0 MiB"),
    ],
)
async def test_what_cannot_be_read_is_named(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "cut.png").write_bytes(save_picture(tmp_path / "whole.png").read_bytes()[:-30])
    (tmp_path / "large.png").write_bytes(bytes(100_000))
    monkeypatch.setattr(pictures, "MAX_DOWNLOAD_BYTES", 50_000)
    with pytest.raises(ImageError, match=message):
        await read_picture(f"{tmp_path}/{name}")


async def test_what_cannot_be_fetched_is_named(tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.html").write_text("hello")
    (tmp_path / "large.png").write_bytes(bytes(100_000))
    monkeypatch.setattr(pictures, "MAX_DOWNLOAD_BYTES", 50_000)
    for url, message in {
        f"{site}/none.png": "none.png: the server answered 404",
        "http://127.0.0.1:9/a.png": "cannot fetch the picture http://127.0.0.1:9/a.png",
        "http://[::1": "cannot fetch the picture",
        f"{site}/page.html": "page.html is not a picture",
        f"{site}/large.png": "is larger than",
    }.items():
        with pytest.raises(ImageError, match=message.replace("[", r"\[")):
            await (await read_picture(url)).upright()
