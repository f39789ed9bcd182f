import pytest

from qwenvl.chat import Image, Text, read_parts
from qwenvl.errors import UserError


def test_words_and_pictures_in_order() -> None:
    assert read_parts("Picture 1:<img>a.png</img>\nand <img> b c.jpg </img>?") == (
        Text("Picture 1:"),
        Image("a.png"),
        Text("\nand "),
        Image("b c.jpg"),
        Text("?"),
    )


def test_no_pictures() -> None:
    assert read_parts("<ref>it</ref><box>(1,2),(3,4)</box>") == (Text("<ref>it</ref><box>(1,2),(3,4)</box>"),)
    assert read_parts("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<img>a.png", "<img> is not closed"),
        ("a.png</img>", "</img> is not opened"),
        ("<img></img>", "no path or URL"),
        ("<img> \n</img>", "no path or URL"),
        ("<img>a.png <img>b.png</img>", "not closed: another follows"),
        ("<img>a.png</img> <img>b.png", "<img> is not closed"),
    ],
)
def test_broken_tags(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_parts(text)
