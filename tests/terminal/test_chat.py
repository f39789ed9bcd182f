import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from qwenvl.chat import Message
from qwenvl.errors import QwenVLError
from qwenvl.terminal.backend import Backend, BackendError, Chunk, Sampling
from qwenvl.terminal.pictures import Picture
from tests.terminal.talking import Script, Talk, save_picture

FOUND = "There is <ref>a dog</ref><box>(100,200),(500,999)</box>, and a cat."


async def test_words_come_clean_with_boxes_in_pixels(tmp_path: Path) -> None:
    talk = Talk(Script(FOUND, "<ref>again</ref><box>(0,0),(500,500)</box>"))
    await talk.chat.add_picture(str(save_picture(tmp_path / "a.jpg", (100, 200), orientation=6)))
    await talk.chat.ask("What is there?")
    assert talk.answers == "There is a dog [20,20 100,99], and a cat.\n"
    assert talk.chat.conversation.turns[0].answer == FOUND, "the model is told what it wrote"
    await talk.chat.ask("Again?")
    assert talk.answers.splitlines()[1] == "again [0,0 100,50]", "of the picture before"


async def test_without_the_picture_boxes_are_in_thousandths() -> None:
    talk = Talk(Script(FOUND, FOUND))
    await talk.chat.ask("Where?")
    await talk.chat.add_picture("http://127.0.0.1:9/a.png")
    await talk.chat.ask("Where?")
    assert talk.answers == "There is a dog [100,200 500,999‰], and a cat.\n" * 2


async def test_a_failure_loses_nothing(tmp_path: Path) -> None:
    script = Script(BackendError("too many requests"), "Yes.")
    talk = Talk(script)
    await talk.chat.add_picture(str(save_picture(tmp_path / "a.png")))
    with pytest.raises(QwenVLError, match="too many"):
        await talk.chat.ask("A dog?")
    await talk.chat.retry()
    assert script.asked[0] == script.asked[1]
    assert talk.answers == "Yes.\n"


class Endless:
    """Answers until it is stopped."""

    name = "endless"

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.closed = False

    async def start(self) -> None:
        pass

    async def answer(self, messages: Sequence[Message[Picture]], sampling: Sampling) -> AsyncGenerator[Chunk]:
        try:
            yield Chunk("so far")
            self.started.set()
            await asyncio.Event().wait()
        finally:
            self.closed = True

    async def close(self) -> None:
        pass


async def test_an_answer_that_is_stopped_stays_as_far_as_it_came() -> None:
    backend = Endless()
    checked: Backend = backend
    talk = Talk(checked)
    asking = asyncio.create_task(talk.chat.ask("Tell me"))
    await backend.started.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert backend.closed
    assert talk.answers == "so far\n"
    assert talk.chat.conversation.turns[0].answer == "so far"
