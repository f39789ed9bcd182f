import io

import pytest

from qwenvl.grounding import parse
from qwenvl.terminal.screen import Screen, places, plain


def test_nobodys_text_gives_the_terminal_orders() -> None:
    assert plain("a\x1b[31mb\x07\rc\x9b2J\x7f\td\ne\ud800") == "a[31mbc2J\td\ne?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<ref>dog</ref><box>(100,200),(500,1000)</box>", ["20,20 100,99"]),
        ("<quad>(0,0),(500,0),(500,500),(0,500)</quad>", ["0,0 100,0 100,50 0,50"]),
        ("<ref>dog</ref>", []),
    ],
)
def test_places_in_pixels(text: str, expected: list[str]) -> None:
    assert places(parse(text).findings[0], (200, 100)) == expected


def test_places_in_thousandths() -> None:
    finding = parse("<box>(1,2),(3,4)</box><quad>(0,0),(5,0),(5,5),(0,5)</quad>").findings[0]
    assert places(finding, None) == ["1,2 3,4‰", "0,0 5,0 5,5 0,5‰"]


def test_answers_and_notes_are_apart_and_nothing_is_markup() -> None:
    answers, notes = io.StringIO(), io.StringIO()
    screen = Screen(answers, notes)
    screen.say("[bold]" + "long " * 50)
    screen.end_answer()
    screen.end_answer()
    screen.note("[red]:smile:")
    screen.fail("no")
    assert answers.getvalue() == "[bold]" + "long " * 50 + "\n"
    assert notes.getvalue() == "[red]:smile:\nqwenvl: no\n"
