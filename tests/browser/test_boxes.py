"""Boxes over the picture: where they are, what they say, and what lights them up."""

import io
from collections.abc import Callable
from pathlib import Path

import PIL.Image
from selenium.webdriver import ActionChains, Keys

from qwenvl.grounding.drawing import COLORS
from tests.browser.paced_engine import PacedEngine
from tests.browser.page import Page, near
from tests.browser.serving import Serve, drawn

CIRCLE = "<ref>the circle</ref><box>(100,200),(500,700)</box>"
SQUARE = "<ref>the square</ref><box>(600,300),(900,800)</box>"


def ask(page: Page, *pictures: Path, text: str = "Where?") -> None:
    page.attach(*pictures)
    page.send(text)


def test_boxes_are_where_the_model_says(serve: Serve, picture: Path) -> None:
    chat = serve(f"There is {CIRCLE} beside {SQUARE}.")
    ask(chat.page, picture)
    chat.page.until_answered()
    assert chat.page.answer() == "There is the circle beside the square."
    assert chat.page.texts(".text mark") == ["the circle", "the square"]
    assert chat.page.one(".count").text == "2 boxes"
    is_at = looks(chat.page)
    for corners, colour in (((100, 200, 500, 700), COLORS[0]), ((600, 300, 900, 800), COLORS[1])):
        x1, y1, x2, y2 = corners
        middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
        # The label stands on the upper edge's left part.
        for edge in ((x2 - 20, y1), (middle_x, y2), (x1, middle_y), (x2, middle_y), (x2, y2)):
            assert is_at(*edge, colour), edge
        for beside in ((x1 + 30, middle_y), (x1 - 30, middle_y), (middle_x, y2 + 40), (middle_x, middle_y)):
            assert is_at(*beside, (255, 255, 255)), beside
    assert chat.page.texts(".labels span") == ["the circle", "the square"]


def looks(page: Page) -> Callable[[float, float, tuple[int, int, int]], bool]:
    """Whether a place of the picture, in thousandths, has a colour on the screen."""
    image = page.screenshot()
    left, top, width, height = page.place_of(".stage")

    def is_at(x: float, y: float, colour: tuple[int, int, int]) -> bool:
        pixel = image.getpixel((round(left + x * width / 1000), round(top + y * height / 1000)))
        assert isinstance(pixel, tuple)
        return near(pixel, colour)

    return is_at


def test_boxes_come_while_the_answer_does(serve: Serve, picture: Path) -> None:
    before = f"There is {CIRCLE} beside"
    engine = PacedEngine(f"{before} {SQUARE}.")
    engine.hold(after=len(engine.info.vocabulary.encode_ordinary(before)) + 2)
    chat = serve(engine=engine)
    ask(chat.page, picture)
    chat.page.until(lambda: len(chat.page.all(".boxes polygon")) == 1)
    assert chat.page.all(".streaming")
    assert looks(chat.page)(500, 450, COLORS[0])
    assert chat.page.one(".count").text == "1 box"
    # No tag and no half of one is shown.
    assert not set("<>()") & set(chat.page.answer())
    chat.release()
    chat.page.until_answered()
    assert len(chat.page.all(".boxes polygon")) == 2


def test_equal_phrases_have_equal_colours(serve: Serve, picture: Path) -> None:
    star = "<ref>star</ref><box>({},100),({},300)</box>"
    chat = serve(star.format(100, 200) + SQUARE + star.format(400, 500))
    ask(chat.page, picture)
    chat.page.until_answered()
    strokes = [box.get_attribute("stroke") for box in chat.page.all(".boxes polygon")]
    assert strokes == [f"rgb({red}, {green}, {blue})" for red, green, blue in (COLORS[0], COLORS[1], COLORS[0])]


def test_a_phrase_lights_its_box_and_a_box_its_phrase(serve: Serve, picture: Path) -> None:
    chat = serve(f"There is {CIRCLE} beside {SQUARE}.")
    ask(chat.page, picture)
    chat.page.until_answered()
    first, second = chat.page.all(".text mark")
    chat.page.hover(first)
    assert lit(chat.page) == ["0", "0", "0"]  # phrase, box, label
    chat.page.hover(chat.page.all(".boxes polygon")[1])
    assert "lit" in (second.get_attribute("class") or "")
    assert set(lit(chat.page)) == {"1"}
    chat.page.hover(chat.page.one("#question"))
    assert lit(chat.page) == []
    # By keyboard too.
    chat.page.run("arguments[0].focus()", first)
    assert set(lit(chat.page)) == {"0"}
    chat.page.press(Keys.TAB)
    assert set(lit(chat.page)) == {"1"}


def lit(page: Page) -> list[str | None]:
    return [element.get_attribute("data-finding") for element in page.all(".lit")]


def test_boxes_belong_to_the_latest_picture(serve: Serve, tmp_path: Path) -> None:
    first, second = drawn(tmp_path / "first.png", (300, 200)), drawn(tmp_path / "second.png", (200, 300))
    chat = serve(f"In the first, {CIRCLE}.", f"In the second, {SQUARE}.")
    ask(chat.page, first)
    chat.page.until_answered()
    ask(chat.page, second)
    chat.page.until_answered(2)
    images = chat.page.all(".figure img")
    assert [image.get_dom_attribute("width") for image in images] == ["300", "200"]
    assert chat.page.one(".turn:last-child figure").get_attribute("aria-label") == "Picture 2"


def test_the_model_sees_its_own_form_again(serve: Serve, picture: Path) -> None:
    said = f"There is 😀 {CIRCLE}{SQUARE}, and <quad>(1,2),(3,4),(5,6),(7,8)</quad>."
    chat = serve(said, "Yes.")
    ask(chat.page, picture)
    chat.page.until_answered()
    chat.page.send("Sure?")
    chat.page.until_answered(2)
    assert said in chat.asked()


def test_spans_count_characters_and_not_units_of_utf_16(serve: Serve, picture: Path) -> None:
    chat = serve(f"😀😀 𠮷 **bold {CIRCLE}** 图中有<ref>红色的圆形</ref><box>(1,2),(300,400)</box>。")
    ask(chat.page, picture)
    chat.page.until_answered()
    assert chat.page.texts(".text mark") == ["the circle", "红色的圆形"]
    assert chat.page.texts(".text strong mark") == ["the circle"]
    assert chat.page.answer() == "😀😀 𠮷 bold the circle 图中有红色的圆形。"


def test_markdown_inside_of_a_phrase(serve: Serve, picture: Path) -> None:
    chat = serve("- <ref>a **red** circle</ref><box>(1,2),(300,400)</box>\n- <ref>`code`</ref><box>(5,6),(7,8)</box>\n")
    ask(chat.page, picture)
    chat.page.until_answered()
    assert chat.page.texts(".text li") == ["a red circle", "code"]
    assert chat.page.texts(".text mark[data-finding='0']") == ["a", "red", "circle"]
    assert chat.page.texts(".text code mark") == ["code"]


def test_a_box_without_a_phrase_has_a_mark_of_its_own(serve: Serve, picture: Path) -> None:
    chat = serve("Here: <box>(100,100),(400,400)</box>.")
    ask(chat.page, picture)
    chat.page.until_answered()
    chip = chat.page.one(".text mark.chip")
    assert chip.get_attribute("aria-label") == "Box 1"
    chat.page.hover(chip)
    assert len(chat.page.all(".boxes polygon.lit")) == 1


def test_boxes_without_a_picture_are_only_words(serve: Serve) -> None:
    chat = serve(f"I imagine {CIRCLE}.")
    chat.page.send("Imagine")
    chat.page.until_answered()
    assert chat.page.texts(".text mark") == ["the circle"]
    assert not chat.page.all(".figure")


def test_boxes_can_be_hidden(serve: Serve, picture: Path) -> None:
    chat = serve(CIRCLE)
    ask(chat.page, picture)
    chat.page.until_answered()
    chat.page.one("[aria-label='Hide the boxes']").click()
    assert not chat.page.one(".boxes").is_displayed()
    chat.page.one("[aria-label='Show the boxes']").click()
    assert chat.page.one(".boxes").is_displayed()


def test_the_picture_is_saved_with_its_boxes(serve: Serve, picture: Path, downloads: Path) -> None:
    chat = serve(f"There is {CIRCLE} beside {SQUARE}.")
    ask(chat.page, picture)
    chat.page.until_answered()
    chat.page.one("[aria-label='Save with boxes']").click()
    saved = downloads / "white-boxes.png"
    chat.page.until(lambda: saved.exists() and not list(downloads.glob("*.crdownload")))
    with PIL.Image.open(io.BytesIO(saved.read_bytes())) as image:
        assert image.size == (400, 200)
        assert image.format == "PNG"
        pixels = image.convert("RGB")
    for place, colour in {
        (200, 90): COLORS[0],
        (40, 90): COLORS[0],
        (120, 140): COLORS[0],
        (360, 110): COLORS[1],
        (120, 90): (255, 255, 255),
        (2, 2): (0, 0, 0),
    }.items():
        pixel = pixels.getpixel(place)
        assert isinstance(pixel, tuple)
        assert near(pixel, colour), place
    saved.unlink()


def test_a_picture_is_enlarged_with_its_boxes(serve: Serve, picture: Path) -> None:
    chat = serve(CIRCLE)
    ask(chat.page, picture)
    chat.page.until_answered()
    chat.page.one(".figure [aria-label='Enlarge the picture']").click()
    chat.page.until(lambda: chat.page.one("#lightbox .boxes polygon").is_displayed())
    assert chat.page.place_of("#lightbox .stage")[2] > chat.page.place_of(".turn .stage")[2]
    ActionChains(chat.page.driver).send_keys(Keys.ESCAPE).perform()
    chat.page.until(lambda: not chat.page.all("#lightbox[open]"))
