"""VLLM's ``echo`` of a chat: an answer that goes on with the last message repeats it first."""

from collections.abc import Sequence

from qwenvl.api.chat.schemas import ChatMessage


def echoed_text(messages: Sequence[ChatMessage]) -> str:
    """The text of the last message where it is an assistant's, as the answer is; else nothing."""
    last = messages[-1]
    if last.role != "assistant":
        return ""
    if isinstance(last.content, str):
        return last.content
    return "".join(part.text or "" for part in last.content or ())
