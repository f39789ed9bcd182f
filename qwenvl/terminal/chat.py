"""A conversation with a backend, on a screen."""

import asyncio
from pathlib import Path

from qwenvl.model_executor.picture_files import is_remote
from qwenvl.terminal.answering import Answer
from qwenvl.terminal.backend import Backend, Sampling
from qwenvl.terminal.conversation import Conversation
from qwenvl.terminal.pictures import read_picture
from qwenvl.terminal.saving import save_answer
from qwenvl.terminal.screen import Screen


class Chat:
    """What can be done in a chat. What fails raises, and changes nothing.

    Args:
        backend: has started.
        screen: where answers and notes go.
        sampling: of every answer.
        system: what the model is told first.
    """

    def __init__(self, backend: Backend, screen: Screen, sampling: Sampling, system: str | None = None) -> None:
        self.backend = backend
        self.screen = screen
        self.conversation = Conversation(system)
        self._sampling = sampling
        self._saved: set[Path] = set()

    async def ask(self, text: str) -> None:
        """Ask, and show the answer. One that is stopped, by cancelling, stays as far as it came.

        Raises:
            QwenVLError: no answer, or not the whole of it; the question and its pictures wait for another try.
        """
        conversation = self.conversation
        messages = conversation.messages(text)
        picture = conversation.pictures[-1] if conversation.pictures else conversation.latest_picture
        answer = Answer(self.screen, picture)
        try:
            await answer.read(self.backend.answer(messages, self._sampling))
        except asyncio.CancelledError:
            if answer.text:
                conversation.answered(text, answer.text)
            raise
        conversation.answered(text, answer.text)
        if answer.is_cut:
            self.screen.note("(cut at the most tokens of an answer; --max-tokens allows more)")

    async def retry(self) -> None:
        """Ask the last question again.

        Raises:
            UserError: there is none.
            QwenVLError: as :meth:`ask`.
        """
        await self.ask(self.conversation.take_back())

    async def add_picture(self, location: str) -> str:
        """Show a picture with the next question; what to say of it.

        Raises:
            ImageError: there is none.
        """
        picture = await read_picture(location)
        self.conversation.pictures.append(picture)
        size = "" if is_remote(location) else ", {} x {}".format(*await picture.size())
        return f"with the next question: {location}{size}"

    async def save(self, name: str) -> None:
        """Write the last answer's boxes on their picture.

        Raises:
            UserError: there are none, or the file cannot be written.
            ImageError: the picture cannot be had.
        """
        path = await save_answer(self.conversation, name, self._saved)
        self.screen.note(f"saved {path}")
