"""Items to the messages of a chat, which the prompt is made of, and the way back for errors that name one."""

import re
from collections.abc import Sequence
from typing import Any

from qwenvl.api.chat.schemas import ChatMessage
from qwenvl.api.responses.items import PlacedItem
from qwenvl.api.responses.objects import (
    FunctionCall,
    FunctionCallOutput,
    InputBox,
    InputImage,
    InputText,
    OutputMessage,
    OutputRefusal,
    OutputText,
)
from qwenvl.errors import UserError

_MESSAGE = re.compile(r"messages\[(\d+)\]([\w.\[\]]*)")
_CALL = re.compile(r"\.tool_calls(?:\[(\d+)\](?:\.function)?)?")


class Conversation:
    """The messages of a chat, made of items.

    Args:
        items: oldest first. A message of the assistant and the calls after it are one message of the chat.
        instructions: the system message before them.
    """

    def __init__(self, items: Sequence[PlacedItem], instructions: str | None) -> None:
        self._written: list[dict[str, Any]] = []
        self._params: list[list[str]] = []
        if instructions:
            self._add({"role": "system", "content": instructions}, "instructions")
        for placed in items:
            self._append(placed)
        self.messages = [ChatMessage.model_validate(message) for message in self._written]

    def rename(self, param: str) -> str:
        """The request's name for a field of ``messages``, as ``messages[3].content[0].image_url.url``."""
        found = _MESSAGE.match(param)
        if found is None:
            return "input" if param == "messages" else param
        params, rest = self._params[int(found[1])], found[2]
        base = params[0]
        if call := _CALL.match(rest):
            # The first is the message's own.
            base, rest = params[int(call[1] or 0) + 1], rest[call.end() :]
        # What was said before, and what is a string, has no fields of its own.
        if not base.startswith("input["):
            return base
        rest = rest.replace(".image_url.url", ".image_url").replace(".tool_call_id", ".call_id")
        if self._written[int(found[1])]["role"] == "tool":
            rest = rest.replace(".content", ".output")
        return base + rest

    def renamed(self, error: UserError) -> UserError:
        """The same error in the request's own words."""
        if error.param is not None:
            param = self.rename(error.param)
            if error.message.startswith(error.param):
                reason = error.message.removeprefix(error.param)
                error.message = param + reason.replace("tool messages", "function_call_output items", 1)
            error.param = param
        return error

    def _add(self, message: dict[str, Any], param: str) -> None:
        self._written.append(message)
        self._params.append([param])

    def _append(self, placed: PlacedItem) -> None:
        item = placed.item
        if isinstance(item, FunctionCall):
            if not self._written or self._written[-1]["role"] != "assistant":
                self._add({"role": "assistant", "content": None}, placed.param)
            function = {"name": item.name, "arguments": item.arguments}
            call = {"id": item.call_id, "type": "function", "function": function}
            self._written[-1].setdefault("tool_calls", []).append(call)
            self._params[-1].append(placed.param)
        elif isinstance(item, FunctionCallOutput):
            content = item.output if isinstance(item.output, str) else [_part(part) for part in item.output]
            self._add({"role": "tool", "tool_call_id": item.call_id, "content": content}, placed.param)
        elif isinstance(item, OutputMessage):
            text = "".join(part.text if isinstance(part, OutputText) else part.refusal for part in item.content)
            self._add({"role": "assistant", "content": text}, placed.param)
        else:
            self._add({"role": item.role, "content": [_part(part) for part in item.content]}, placed.param)


def _part(part: InputText | InputImage | InputBox | OutputText | OutputRefusal) -> dict[str, Any]:
    if isinstance(part, InputBox):
        return part.model_dump(exclude_none=True)
    if isinstance(part, InputImage):
        return {"type": "image_url", "image_url": {"url": part.image_url, "detail": part.detail}}
    return {"type": "text", "text": part.refusal if isinstance(part, OutputRefusal) else part.text}
