"""The page before the real engine and the built-in model: what a newcomer sees first."""

from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.webdriver import Keys

from qwenvl.grounding.drawing import COLORS
from scripts.web_examples import SCENES
from tests.browser.page import Page, near
from tests.server.processes import server_process

pytestmark = pytest.mark.slow


def test_an_example_is_answered_with_boxes_at_the_shapes(visit: Callable[[str], Page], tmp_path: Path) -> None:
    arguments = ["qwenvl.cli", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with server_process(arguments, tmp_path / "log") as server:
        page = visit(server.wait_for(r"serving \S+ on (http://127\.0\.0\.1:\d+)/v1")[1])
        page.open()
        page.one(".example").click()
        page.until_answered()
        assert len(page.all(".boxes polygon")) == 3
        image = page.screenshot()
        left, top, width, height = page.place_of(".stage")
        for thing in SCENES["shapes"].things:
            phrase = next(text for text in page.texts(".text mark") if f"{thing.colour} {thing.shape}" in text)
            colour = COLORS[page.texts(".text mark").index(phrase)]
            x1, y1, x2, y2 = thing.box
            row, column = round(top + (y1 + y2) / 2 * height), round(left + (x1 + x2) / 2 * width)
            # The model's boxes are good to a few hundredths of the picture.
            margin = round(0.04 * width)
            for x in (round(left + x1 * width), round(left + x2 * width)):
                assert any(near(image.getpixel((x + i, row)), colour) for i in range(-margin, margin + 1)), thing
            bottom = round(top + y2 * height)
            assert any(near(image.getpixel((column, bottom + i)), colour) for i in range(-margin, margin + 1)), thing
        # The model goes on from its own answer.
        page.type("What colour is the triangle?")
        page.press(Keys.ENTER)
        page.until_answered(2)
        assert page.answer() == "Green."
