from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import PIL.ExifTags
import PIL.Image
import pytest

from qwenvl.finetuning.pictures import Pictures
from tests.file_site import file_site
from tests.finetuning.checkpoints import write_pictures


class Handler(SimpleHTTPRequestHandler):
    seen: tuple[str, ...] = ()

    def do_GET(self) -> None:
        type(self).seen += (self.path,)
        super().do_GET()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    Handler.seen = ()
    with file_site(tmp_path, Handler) as url:
        yield url


def test_a_url_is_fetched_once(tmp_path: Path, site: str) -> None:
    write_pictures(tmp_path)
    pictures = Pictures(tmp_path, tmp_path / "cache")
    url = f"{site}/red.png?/../../x"
    assert list(pictures.problems([url, url, "green.png"], show_progress=False)) == []
    assert pictures.open(url).getpixel((0, 0)) == (255, 0, 0)
    assert Handler.seen == ("/red.png?/../../x",)
    (copy,) = (tmp_path / "cache").iterdir()
    assert copy.stat().st_size == (tmp_path / "red.png").stat().st_size


def test_each_that_cannot_be_used_is_named(tmp_path: Path, site: str) -> None:
    write_pictures(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    PIL.Image.effect_noise((300, 300), 90).convert("RGB").save(tmp_path / "noise.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "noise.jpg").read_bytes()[:-2000])
    (tmp_path / "cut.png").write_bytes((tmp_path / "red.png").read_bytes()[:-30])
    locations = ["red.png", "none.png", "text.png", "noise.jpg", "cut.jpg", "cut.png", f"{site}/none.png"]
    pictures = Pictures(tmp_path, tmp_path / "cache")
    reasons = dict(pictures.problems(locations, show_progress=False))
    assert reasons.keys() == set(locations) - {"red.png", "noise.jpg"}
    assert reasons["none.png"] == "cannot read the picture none.png: No such file or directory"
    assert reasons["text.png"] == "text.png is not a picture that Pillow reads"
    assert "truncated" in reasons["cut.jpg"]
    assert f"cannot fetch the picture {site}/none.png" in reasons[f"{site}/none.png"]


def test_photos_are_seen_upright_unless_told(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    PIL.Image.new("RGB", (40, 20)).save(tmp_path / "photo.jpg", exif=exif)
    assert Pictures(tmp_path, tmp_path / "cache").open("photo.jpg").size == (20, 40)
    assert Pictures(tmp_path, tmp_path / "cache", upright=False).open("photo.jpg").size == (40, 20)
