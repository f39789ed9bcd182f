from pathlib import Path

import pytest

from qwenvl.errors import UserError
from qwenvl.terminal.commands import COMMANDS, LeaveError, is_command, run_command, split_locations
from tests.server.processes import PROJECT
from tests.terminal.talking import Script, Talk, save_picture


async def test_pictures_by_any_spelling_of_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "two words.png", "it's.png"):
        save_picture(tmp_path / name)
    talk = Talk(Script())
    await run_command(talk.chat, "/image two words.png")
    await run_command(talk.chat, "/image it's.png")
    await run_command(talk.chat, r"/image a.png 'two words.png' two\ words.png http://a/b.png")
    names = [picture.location for picture in talk.chat.conversation.pictures]
    assert names == ["two words.png", "it's.png", "a.png", "two words.png", "two words.png", "http://a/b.png"]
    await run_command(talk.chat, "/image")
    assert talk.notes.splitlines()[-1].startswith("with the next question: two words.png, it's.png")
    await run_command(talk.chat, "/drop")
    assert talk.chat.conversation.pictures == []


def test_open_quote() -> None:
    with pytest.raises(UserError, match="a quote or a backslash is left open in 'a"):
        split_locations("'a")


async def test_unknown_commands_say_what_may_be_meant(tmp_path: Path) -> None:
    talk = Talk(Script())
    path = save_picture(tmp_path / "a.png")
    for line, message in {
        "/rest": "did you mean /reset",
        "/x": "/help lists them",
        "/": "there is no command /",
        f"{path} what is this?": f"to show a picture: /image {path}",
        "/save a b": "takes one file",
    }.items():
        with pytest.raises(UserError, match=message):
            await run_command(talk.chat, line)
    assert not is_command(" /etc is a folder")


async def test_help_names_every_command_and_its_use() -> None:
    talk = Talk(Script())
    await run_command(talk.chat, "/help")
    assert all(f"/{name}" in talk.notes for name in COMMANDS)


async def test_system_reset_retry_quit() -> None:
    script = Script("one", "two", "three")
    talk = Talk(script)
    await run_command(talk.chat, "/system  Be  brief.")
    await talk.chat.ask("Hello")
    await run_command(talk.chat, "/RETRY")
    assert [len(messages) for messages in script.asked] == [2, 2]
    assert script.asked[0][0].parts[0].text == "Be  brief."  # type: ignore[union-attr]
    await run_command(talk.chat, "/reset")
    await talk.chat.ask("Hello")
    assert len(script.asked[2]) == 2
    with pytest.raises(LeaveError):
        await run_command(talk.chat, "/quit")


def test_the_page_names_every_command() -> None:
    page = (PROJECT / "docs" / "terminal.md").read_text(encoding="utf-8")
    assert all(f"`/{name}" in page for name in COMMANDS)
