"""Lines, one after the other, to a chat: what goes wrong with one is said, and the next is taken."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from prompt_toolkit.input import Input

from qwenvl.errors import ContextLengthError, EngineDeadError, EngineError, ImageError, QwenVLError
from qwenvl.terminal.chat import Chat
from qwenvl.terminal.commands import LeaveError, is_command, run_command
from qwenvl.terminal.interrupts import InterruptedByUser, interruptible

INTERRUPTED = 130
"""What shells expect of a command that Ctrl-C ended."""


class Session:
    """What a person, or a file, does in a chat.

    Args:
        chat: what they talk to.
        keyboard: what a person types on; None for a file, or a single question.
        log: what the engine prints, where there is one.
    """

    def __init__(self, chat: Chat, keyboard: Input | None, log: Path | None = None) -> None:
        self._chat = chat
        self._keyboard = keyboard
        self._log = log
        self._is_all_well = True

    async def begin(self, start: Callable[[], Awaitable[None]], images: Sequence[str]) -> None:
        """Look at the pictures, which is quick, and then make the backend ready, which may not be.

        Raises:
            InterruptedByUser: Ctrl-C ended it.
            QwenVLError: it failed. Only a person who is there can name another picture for one that cannot be read.
        """
        for image in images:
            try:
                added = await self._chat.add_picture(image)
            except ImageError as error:
                if self._keyboard is None:
                    raise
                self._fail(error)
            else:
                if self._keyboard is not None:
                    self._chat.screen.note(added)
        await interruptible(_wait(start), self._keyboard)

    async def ask_once(self, question: str) -> int:
        """Ask and be done; the exit code.

        Raises:
            InterruptedByUser: Ctrl-C ended it.
            QwenVLError: no answer, or not the whole of it.
        """
        await interruptible(self._chat.ask(question), self._keyboard)
        return 0

    async def run(self, lines: AsyncGenerator[str]) -> int:
        """Take each line; the exit code, which says whether a file of lines went well.

        Raises:
            InterruptedByUser: Ctrl-C ended a file of lines.
            EngineDeadError: there is nothing left to talk to.
        """
        async with aclosing(lines):
            async for line in lines:
                try:
                    await self._take(line)
                except LeaveError:
                    break
        return 0 if self._keyboard or self._is_all_well else 1

    async def _take(self, line: str) -> None:
        if not line.strip():
            return
        try:
            await interruptible(self._do(line), self._keyboard)
        except InterruptedByUser:
            if self._keyboard is None:
                raise
            self._chat.screen.note("(stopped)")
        except EngineDeadError:
            raise
        except QwenVLError as error:
            self._fail(error)

    async def _do(self, line: str) -> None:
        if is_command(line):
            await run_command(self._chat, line)
        else:
            await self._chat.ask(line.strip())

    def _fail(self, error: QwenVLError) -> None:
        self._is_all_well = False
        self._chat.screen.fail(str(error))
        if isinstance(error, ContextLengthError):
            self._chat.screen.note("/reset begins a new conversation")
        if isinstance(error, EngineError) and self._log is not None:
            self._chat.screen.note(f"what the engine printed is, until you leave, in {self._log}")


async def _wait(start: Callable[[], Awaitable[None]]) -> None:
    await start()
