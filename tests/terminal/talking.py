"""Chats whose screen is a text."""

import io
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import PIL.Image

from qwenvl.chat import Message
from qwenvl.terminal.backend import Backend, Chunk, Sampling
from qwenvl.terminal.chat import Chat
from qwenvl.terminal.pictures import Picture
from qwenvl.terminal.screen import Screen


class Script:
    """A backend that answers with what a test has written, or fails with it."""

    name = "script"

    def __init__(self, *answers: str | Exception) -> None:
        self._answers = iter(answers)
        self.asked: list[list[Message[Picture]]] = []

    async def start(self) -> None:
        pass

    async def answer(self, messages: Sequence[Message[Picture]], sampling: Sampling) -> AsyncGenerator[Chunk]:
        self.asked.append(list(messages))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        for letter in answer:
            yield Chunk(letter)

    async def close(self) -> None:
        pass


class Talk:
    """A chat, and what it showed."""

    def __init__(self, backend: Backend) -> None:
        self._answers, self._notes = io.StringIO(), io.StringIO()
        self.chat = Chat(backend, Screen(self._answers, self._notes), Sampling())

    @property
    def answers(self) -> str:
        return self._answers.getvalue()

    @property
    def notes(self) -> str:
        return self._notes.getvalue()


def save_picture(path: Path, size: tuple[int, int] = (200, 100), orientation: int = 1) -> Path:
    """A grey picture, stored as this camera note says."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.new("RGB", size, (128, 128, 128)).save(path, exif=exif)
    return path
