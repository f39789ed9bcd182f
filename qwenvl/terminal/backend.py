"""What answers: a server, or an engine of our own."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from qwenvl.chat import Message
from qwenvl.errors import QwenVLError
from qwenvl.terminal.pictures import Picture


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample; None is the model's own default, or the server's."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """What an answer gained.

    Attributes:
        text: as the model wrote it, tags and all.
        is_cut: the answer ends here because it may not be longer.
    """

    text: str
    is_cut: bool = False


class BackendError(QwenVLError):
    """No answer, or not the whole of it; the message says why, in one or two sentences."""


class Backend(Protocol):
    """Answers conversations, one at a time.

    Life: :meth:`start`, any number of :meth:`answer`, then :meth:`close`, whether or not the start succeeded.
    """

    @property
    def name(self) -> str:
        """What answers, after the start."""

    async def start(self) -> None:
        """Make ready.

        Raises:
            QwenVLError: it cannot answer; the message says why.
        """

    def answer(self, messages: Sequence[Message[Picture]], sampling: Sampling) -> AsyncGenerator[Chunk]:
        """Answer a conversation. Closing the iterator aborts the request.

        Raises:
            ContextLengthError: conversation and answer are longer than the model's context.
            QwenVLError: no answer, or not the whole of it.
        """

    async def close(self) -> None:
        """Let go of everything. Never raises."""
