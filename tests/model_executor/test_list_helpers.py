from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from qwenvl.errors import ImageError, UserError
from qwenvl.model_executor.list_helpers import ListHelpers

HELPERS = ListHelpers()
ANSWER = '<ref>"击掌"</ref><box>(211,412),(577,891)</box>'


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "一张 图.png"
    PIL.Image.new("RGB", (100, 60), "white").save(path)
    return path


def test_the_latest_picture() -> None:
    two = HELPERS.from_list_format([{"image": "a.png"}, {"image": " b c.png "}, {"text": "?"}])
    history = [(two, "yes"), ("and now?", "<img>of the model.png</img>")]
    assert HELPERS._fetch_latest_picture(ANSWER, history) == "b c.png"
    assert HELPERS._fetch_latest_picture(f"<img>of the model.png</img>{ANSWER}", history) == "b c.png"
    assert HELPERS._fetch_latest_picture(f"<img>d.png</img>{ANSWER}", None) == "d.png"
    assert HELPERS._fetch_latest_picture(f"<img>d.png</img>{ANSWER}", [("no picture", "none")]) is None
    assert HELPERS._fetch_latest_picture(ANSWER, [("no picture", "none")]) is None
    assert HELPERS._fetch_latest_picture(ANSWER, None) is None
    assert HELPERS._fetch_latest_picture("<img></img>", None) is None


def test_names_that_scripts_call() -> None:
    assert HELPERS._fetch_all_box_with_ref(ANSWER) == [{"box": (211, 412, 577, 891), "ref": '"击掌"'}]
    assert HELPERS.to_list_format(ANSWER) == [{"ref": '"击掌"'}, {"box": "(211,412),(577,891)"}]


def test_drawn_on_the_picture(picture: Path, tmp_path: Path) -> None:
    history = [(f"Picture 1:<img>{picture}</img>\nbox it", ANSWER)]
    image = HELPERS.draw_bbox_on_latest_picture(ANSWER, history)
    assert image is not None
    assert (image.mode, image.size) == ("RGB", (100, 60))
    assert image.getpixel((21, 40)) != (255, 255, 255)
    image.save(tmp_path / "1.jpg")
    # As a base model answers: the picture is in the text itself.
    base = HELPERS.draw_bbox_on_latest_picture(f"<img>{picture}</img>Box:<box>(10,10),(900,900)</box><|endoftext|>")
    assert base is not None
    assert base.getpixel((1, 30)) != (255, 255, 255)


def test_nothing_to_draw(picture: Path) -> None:
    history = [(f"<img>{picture}</img>", "")]
    assert HELPERS.draw_bbox_on_latest_picture("there is none", history) is None
    assert HELPERS.draw_bbox_on_latest_picture("<ref>a dog</ref>", history) is None
    assert HELPERS.draw_bbox_on_latest_picture(ANSWER, []) is None
    with pytest.raises(ImageError, match=r"gone\.png"):
        HELPERS.draw_bbox_on_latest_picture(ANSWER, [("<img>gone.png</img>", "")])


@pytest.mark.parametrize("history", [["ab"], [("a", None)], "ab", {"a": "b"}])
def test_malformed_histories(history: Any) -> None:
    with pytest.raises(UserError, match="history"):
        HELPERS.draw_bbox_on_latest_picture(ANSWER, history)


def test_the_file_s_orientation_stays(tmp_path: Path) -> None:
    """As the model saw it: it does not look at EXIF either."""
    path = tmp_path / "turned.jpg"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (80, 40), "white").save(path, exif=exif)
    image = HELPERS.draw_bbox_on_latest_picture("<box>(0,0),(500,999)</box>", [(f"<img>{path}</img>", "")])
    assert image is not None
    assert image.size == (80, 40)
    assert image.getpixel((40, 20)) != (255, 255, 255)
    image.save(tmp_path / "drawn.jpg")
    with PIL.Image.open(tmp_path / "drawn.jpg") as saved:
        assert saved.getexif().get(0x0112) is None
