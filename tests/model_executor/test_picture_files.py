import base64
import struct
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import PIL.PngImagePlugin
import pytest

from qwenvl.errors import ImageError
from qwenvl.model_executor import picture_files
from qwenvl.model_executor.picture_files import open_picture
from tests.file_site import file_site


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a picture.png"
    PIL.Image.new("RGB", (8, 4), (1, 2, 3)).save(path)
    return path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    with file_site(tmp_path) as url:
        yield url


def test_each_kind_of_location(picture: Path, site: str) -> None:
    encoded = base64.b64encode(picture.read_bytes()).decode()
    locations = [str(picture), picture.as_uri(), f"data:image/png;base64,{encoded}", f"{site}/a%20picture.png"]
    for location in locations:
        image = open_picture(location)
        assert image.size == (8, 4)
        assert image.getpixel((0, 0)) == (1, 2, 3)
    assert open_picture(picture.name, picture.parent).size == (8, 4)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("missing.png", "cannot read the picture missing.png: No such file"),
        (".", "cannot read the picture .: Is a directory"),
        ("~nobody-of-this-name/a.png", "cannot read the picture ~nobody-of-this-name/a.png: Could not determine home"),
        ("data:image/png;base64", "comma"),
        ("data:,hello", "not a picture"),
        ("http://127.0.0.1:9/a.png", "cannot fetch the picture http://127.0.0.1:9/a.png"),
        ("http://[::1", "cannot fetch the picture"),
    ],
)
def test_what_cannot_be_read_is_named(location: str, message: str) -> None:
    with pytest.raises(ImageError, match=message.replace("[", r"\[")):
        open_picture(location)


def test_damaged_missing_and_too_large(
    picture: Path, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:-30])
    with pytest.raises(ImageError, match=r"cut\.png"):
        open_picture(str(tmp_path / "cut.png"))
    with pytest.raises(ImageError, match=r"Not Found|File not found"):
        open_picture(f"{site}/none.png")
    monkeypatch.setattr(picture_files, "MAX_DOWNLOAD_BYTES", 16)
    with pytest.raises(ImageError, match="larger than"):
        open_picture(f"{site}/a%20picture.png")


@pytest.mark.parametrize("raised", [RuntimeError("AVIF"), NotImplementedError("BLP"), EOFError(), struct.error("cut")])
def test_whatever_a_decoder_raises(raised: Exception, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: PIL.Image.Image) -> None:
        raise raised

    monkeypatch.setattr(PIL.PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(ImageError, match=f"cannot read the picture .*: {str(raised) or 'EOFError'}"):
        open_picture(str(picture))
