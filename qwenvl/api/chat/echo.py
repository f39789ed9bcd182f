"""vLLM's ``echo`` of a chat: an answer that goes on with the last message repeats it first."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from qwenvl.api.chat.schemas import ChatMessage
from qwenvl.engine import Delta, Step


def echoed_text(messages: Sequence[ChatMessage]) -> str:
    """The text of the last message where it is an assistant's, as the answer is; else nothing."""
    last = messages[-1]
    if last.role != "assistant":
        return ""
    if isinstance(last.content, str):
        return last.content
    return "".join(part.text or "" for part in last.content or ())


class Echoing(AsyncIterator[Step]):
    """The same steps; the first one begins with ``text`` in each of ``n`` answers."""

    def __init__(self, steps: AsyncIterator[Step], text: str, n: int) -> None:
        self._steps = steps
        self._deltas = [Delta(index, text, ()) for index in range(n)] if text else []

    async def __anext__(self) -> Step:
        step = await anext(self._steps)
        if self._deltas:
            step = replace(step, deltas=[*self._deltas, *step.deltas])
            self._deltas = []
        return step
