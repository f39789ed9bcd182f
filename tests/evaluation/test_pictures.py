import base64

import PIL.Image
import pytest

from qwenvl.errors import ImageError
from qwenvl.evaluation.pictures import find_picture, open_sample_picture, picture_url
from tests.evaluation.layouts import SIZE, picture


def test_a_picture_goes_as_it_is(tmp_path):
    name = picture(tmp_path, "folder/1.png")
    header, _, content = picture_url(name, tmp_path).partition(",")
    assert header == "data:image/png;base64"
    assert base64.b64decode(content) == (tmp_path / name).read_bytes()
    PIL.Image.new("L", (2000, 10)).save(tmp_path / "2.jpg")
    assert picture_url("2.jpg", tmp_path).startswith("data:image/jpeg;base64,")


def test_paths_of_the_original_begin_with_its_folder(tmp_path):
    picture(tmp_path, "coco/1.png")
    assert find_picture("data/coco/1.png", tmp_path) == tmp_path / "coco/1.png"
    picture(tmp_path, "data/coco/1.png")
    assert find_picture("data/coco/1.png", tmp_path) == tmp_path / "data/coco/1.png"


def test_pictures_of_a_table(tmp_path):
    content = base64.b64encode((tmp_path / picture(tmp_path, "1.png")).read_bytes()).decode()
    assert picture_url(f"data:;base64,{content}", tmp_path) == f"data:image/png;base64,{content}"
    assert open_sample_picture(f"data:;base64,{content}", tmp_path).size == SIZE


@pytest.mark.parametrize("name", ["nowhere.png", "folder", "text.png", "cut.png", "data:;base64,AAAA", "nul\0.png"])
def test_what_is_no_picture_is_named(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.png").write_text("text", encoding="utf-8")
    (tmp_path / "cut.png").write_bytes((tmp_path / picture(tmp_path, "1.png")).read_bytes()[:60])
    with pytest.raises(ImageError, match=name.replace("\0", ".")):
        picture_url(name, tmp_path)
