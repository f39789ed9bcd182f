from pathlib import Path

import PIL.Image
import pytest

from qwenvl.errors import ImageError, UserError
from qwenvl.grounding.drawing import COLORS
from tests.terminal.talking import Script, Talk, save_picture

FOUND = "<ref>a dog</ref><box>(100,200),(500,900)</box>"


@pytest.fixture
async def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """One whose last answer found something on a photo that was stored on its side."""
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "photo.jpg", (400, 800), orientation=6)
    talk = Talk(Script(FOUND, "No boxes.", FOUND))
    await talk.chat.add_picture("photo.jpg")
    await talk.chat.ask("Where?")
    return talk


async def test_drawn_upright_at_full_size(talk: Talk) -> None:
    await talk.chat.save("found.png")
    with PIL.Image.open("found.png") as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (800, 400))
        assert drawn.getpixel((80, 200)) == COLORS[0]
        assert drawn.getpixel((240, 200)) == (128, 128, 128)
    assert talk.notes == "saved found.png\n"


async def test_suffix_names_the_format(talk: Talk) -> None:
    await talk.chat.save("found.JPG")
    with PIL.Image.open("found.JPG") as drawn:
        assert drawn.format == "JPEG"


async def test_without_a_name_the_next_that_is_free(talk: Talk) -> None:
    await talk.chat.save("")
    await talk.chat.save("")
    assert talk.notes == "saved answer.png\nsaved answer-2.png\n"


async def test_own_files_are_written_over_and_no_others(talk: Talk) -> None:
    await talk.chat.save("found.png")
    await talk.chat.save("./found.png")
    with pytest.raises(UserError, match=r"photo\.jpg: there is such a file already"):
        await talk.chat.save("photo.jpg")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/found.png", "cannot write nowhere/found.png: No such file"),
        ("found.gif", "cannot write found.gif: its name must end in"),
        ("found", "cannot write found: its name must end in"),
        ("~nobody-of-this-name/a.png", "cannot write ~nobody-of-this-name/a.png: "),
    ],
)
async def test_what_cannot_be_written_is_named(talk: Talk, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        await talk.chat.save(name)


async def test_nothing_to_draw(talk: Talk) -> None:
    await talk.chat.ask("What?")
    with pytest.raises(UserError, match="the last answer has no boxes"):
        await talk.chat.save("")
    talk.chat.conversation.reset()
    with pytest.raises(UserError, match="no answer to draw"):
        await talk.chat.save("")
    await talk.chat.ask("Where?")
    with pytest.raises(UserError, match="no picture to draw on"):
        await talk.chat.save("")


async def test_picture_that_cannot_be_had(tmp_path: Path) -> None:
    talk = Talk(Script(FOUND))
    await talk.chat.add_picture("http://127.0.0.1:9/a.png")
    await talk.chat.ask("Where?")
    with pytest.raises(ImageError, match=r"http://127\.0\.0\.1:9/a\.png"):
        await talk.chat.save(str(tmp_path / "a.png"))
