from importlib.util import find_spec

import PIL.Image
import PIL.ImageChops
import pytest

from qwenvl.grounding import Box, Finding, Point, Quad, draw_findings, parse
from qwenvl.grounding.drawing import COLORS, label_font

WHITE = (255, 255, 255)


def blank(width: int = 400, height: int = 300, mode: str = "RGB") -> PIL.Image.Image:
    return PIL.Image.new(mode, (width, height), "white" if mode != "RGBA" else (255, 255, 255, 0))


def finding(ref: str | None, *boxes: Box) -> Finding:
    return Finding(ref, boxes, (), (0, 0))


def drawn_area(image: PIL.Image.Image) -> tuple[int, int, int, int] | None:
    return PIL.ImageChops.difference(image, blank(*image.size)).getbbox()


def test_an_outline_where_the_box_is() -> None:
    original = blank()
    image = draw_findings(original, [finding(None, Box(250, 500, 500, 900))])
    assert drawn_area(original) is None
    left, top, right, bottom = drawn_area(image) or (0, 0, 0, 0)
    assert abs(left - 100) <= 2
    assert abs(top - 150) <= 2
    assert abs(right - 200) <= 2
    assert abs(bottom - 270) <= 2
    assert image.getpixel((150, 200)) == WHITE


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16", "1"])
def test_any_mode(mode: str) -> None:
    image = PIL.Image.new(mode, (60, 40))
    assert draw_findings(image, [finding("红色", Box(0, 0, 999, 999))]).mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (500, 2), (8, 8), (40, 30), (1600, 1200)])
@pytest.mark.parametrize("label", ["a", "击掌的位置", "a very long phrase " * 40, "\n \t", "\u202eback 🙂"])
def test_any_size_and_label(size: tuple[int, int], label: str) -> None:
    boxes = [Box(0, 0, 999, 999), Box(900, 0, 999, 30), Box(990, 990, 999, 999), Box(500, 500, 500, 500)]
    image = draw_findings(blank(*size), [finding(label, box) for box in boxes])
    assert image.size == size


def test_labels_stay_inside() -> None:
    """At each edge, the label adds ink that the outline alone does not have."""
    for box in (Box(0, 0, 50, 50), Box(950, 0, 999, 50), Box(0, 950, 50, 999), Box(950, 950, 999, 999)):
        plain = draw_findings(blank(), [finding(None, box)])
        labelled = draw_findings(blank(), [finding("a label of some length", box)])
        left, top, right, bottom = PIL.ImageChops.difference(plain, labelled).getbbox() or (0, 0, 0, 0)
        assert right - left > 60
        assert bottom - top > 8
        assert (left >= 0, top >= 0, right <= 400, bottom <= 300) == (True,) * 4


def test_many_long_phrases() -> None:
    findings = [finding(f"{i} {'word ' * 100}", Box(100, 100, 400, 400)) for i in range(500)]
    assert draw_findings(blank(1600, 1200), findings).size == (1600, 1200)


def test_chinese_has_glyphs() -> None:
    font = label_font(24)
    masks = {bytes(font.getmask(sign)) for sign in "红蓝三角形a"}
    assert len(masks) == 6
    assert all(any(mask) for mask in masks)


def test_equal_phrases_have_equal_colors() -> None:
    boxes = [Box(100 * i, 400, 100 * i + 60, 600) for i in range(4)]
    refs = ["cat", "dog", "cat", None]
    image = draw_findings(blank(), [finding(ref, box) for ref, box in zip(refs, boxes, strict=True)])
    # On the lower edges, where no label is.
    colors = [image.getpixel((40 * i + 12, 180)) for i in range(4)]
    assert colors == [COLORS[0], COLORS[1], COLORS[0], COLORS[2]]


def test_out_of_range_and_swapped_corners() -> None:
    swapped = draw_findings(blank(), [finding(None, Box(800, 900, 100, 200))])
    assert drawn_area(swapped) == drawn_area(draw_findings(blank(), [finding(None, Box(100, 200, 800, 900))]))
    outside = draw_findings(blank(), [finding("x", Box(-500, -500, 5000, 5000)), finding("y", Box(2000, 0, 3000, 1))])
    assert outside.size == (400, 300)


def test_quadrilaterals() -> None:
    quad = Quad((Point(500, 100), Point(900, 500), Point(500, 900), Point(100, 500)))
    image = draw_findings(blank(), [Finding("斜", (), (quad,), (0, 0))])
    assert image.getpixel((200, 269)) == image.getpixel((359, 150)) == COLORS[0]
    assert image.getpixel((45, 35)) == WHITE


def test_lines_grow_with_the_picture() -> None:
    def thickness(image: PIL.Image.Image) -> int:
        row = [image.getpixel((x, image.height // 2)) for x in range(image.width // 2)]
        return sum(pixel != WHITE for pixel in row)

    box = finding(None, Box(200, 200, 800, 800))
    small, large = (draw_findings(blank(size, size), [box]) for size in (160, 1600))
    assert thickness(small) == 1
    assert thickness(large) == 10


def test_what_a_model_wrote() -> None:
    text = "<ref>a</ref><box>(10,10),(200,200)</box><box>(300,10),(400,200)</box> and <box>(500,500),(600,600)</box>"
    assert drawn_area(draw_findings(blank(), parse(text).findings)) is not None
    assert drawn_area(draw_findings(blank(), parse("nothing").findings)) is None


def test_the_font_comes_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_spec("zhplot") is not None
    label_font.cache_clear()
    monkeypatch.setattr("qwenvl.grounding.drawing.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="zhplot"):
        label_font(12)
    label_font.cache_clear()
