"""Wire messages to a conversation. Images stay references: they are fetched once the prompt is known to fit."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from qwenvl.api.chat.schemas import ChatMessage, ContentPart
from qwenvl.api.grounding.boxes import BoxWriter
from qwenvl.api.media.references import ImageReference
from qwenvl.api.wire import ImageUrl
from qwenvl.chat import Image, Message, Part, PromptFormat, Role, Text
from qwenvl.chat.react import Call, Calling, Result
from qwenvl.errors import UserError

Conversation = list[Message[ImageReference] | Calling | Result]
"""One entry a wire message."""

_ROLES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
_RESULT_ROLES = ("tool", "function")
_CALL_FIELDS = ("tool_calls", "function_call")
_SHOWN_CALLS = 4


def read_conversation(
    messages: Sequence[ChatMessage], prompt_format: PromptFormat, boxes: BoxWriter | None = None
) -> Conversation:
    """The conversation that the wire messages hold.

    Args:
        messages: as the request has them.
        prompt_format: what they are to become.
        boxes: writes those among their parts.

    Raises:
        UserError: a role, a part or a content that this server does not take, a tool's call without its result or a
            result without its call; ``param`` is the field.
    """
    if not messages:
        raise UserError("messages must have at least one message.", param="messages", code="invalid_value")
    if prompt_format is PromptFormat.RAW and [message.role for message in messages] != ["user"]:
        raise UserError(
            "A raw prompt, as base models take it, is exactly one message with the role 'user'. "
            "Send one, or set chat_template_kwargs.chat_format to 'chatml'.",
            param="messages",
            code="invalid_value",
        )
    boxes = boxes or BoxWriter()
    conversation = [_read_message(message, boxes, f"messages[{i}]") for i, message in enumerate(messages)]
    _check_results(messages, conversation)
    return conversation


def texts_of(conversation: Conversation) -> Iterator[tuple[str, str]]:
    """Each text that goes into the prompt, after the field that it comes from."""
    for i, entry in enumerate(conversation):
        match entry:
            case Result(text=text):
                yield f"messages[{i}].content", text
            case Calling(thought=thought, calls=calls):
                yield f"messages[{i}].content", thought
                yield from ((f"messages[{i}].tool_calls", call.arguments) for call in calls)
            case Message(parts=parts):
                yield from ((f"messages[{i}].content", part.text) for part in parts if isinstance(part, Text))


def _read_message(message: ChatMessage, boxes: BoxWriter, path: str) -> Message[ImageReference] | Calling | Result:
    if message.role in _RESULT_ROLES:
        return _read_result(message, boxes, path)
    role = _read_role(message.role, path)
    for name in _CALL_FIELDS:
        if getattr(message, name) and role is not Role.ASSISTANT:
            _refuse(f"{path}.{name}", "belongs in assistant messages.")
    if message.tool_calls or message.function_call:
        return _read_calling(message, boxes, path)
    parts = tuple(_read_content(message, role, boxes, f"{path}.content"))
    # A model may answer with nothing, and that answer must be fit to be sent back as a past turn.
    if role is not Role.ASSISTANT and not any(isinstance(part, Image) or part.text for part in parts):
        _refuse(f"{path}.content", "must not be empty.")
    return Message(role, parts)


def _read_role(name: str, path: str) -> Role:
    if name in _ROLES:
        return _ROLES[name]
    known = ", ".join((*_ROLES, *_RESULT_ROLES))
    _refuse(f"{path}.role", f"messages with the role {_shorten(name)} do not exist. It must be one of {known}.", ": ")


def _read_calling(message: ChatMessage, boxes: BoxWriter, path: str) -> Calling:
    if message.tool_calls and message.function_call:
        _refuse(f"{path}.function_call", "cannot be combined with tool_calls. Give one of them.")
    thought = "" if message.content is None else _read_text(message, Role.ASSISTANT, boxes, f"{path}.content")
    if message.function_call:
        # Calls of the older kind have no ids: their results name the function.
        name = message.function_call.name
        return Calling(thought, (Call(name, name, message.function_call.arguments),))
    calls = tuple(Call(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ())
    seen: set[str] = set()
    for i, call in enumerate(calls):
        if call.id in seen:
            _refuse(f"{path}.tool_calls[{i}].id", "is that of another call. Give each an id of its own.")
        seen.add(call.id)
    return Calling(thought, calls)


def _read_result(message: ChatMessage, boxes: BoxWriter, path: str) -> Result:
    name = _result_field(message)
    call_id = getattr(message, name)
    if call_id is None:
        raise UserError(f"{path}.{name} is required.", param=f"{path}.{name}", code="missing_required_parameter")
    return Result(call_id, _read_text(message, None, boxes, f"{path}.content"))


def _result_field(message: ChatMessage) -> str:
    """The field by which a result says whose it is."""
    return "tool_call_id" if message.role == "tool" else "name"


def _check_results(messages: Sequence[ChatMessage], conversation: Conversation) -> None:
    """Raise unless each message with calls is followed by one result for each of them, and by nothing before."""
    waiting: set[str] = set()
    asked = 0
    for i, (message, entry) in enumerate(zip(messages, conversation, strict=True)):
        if isinstance(entry, Result):
            if entry.call_id not in waiting:
                field = f"messages[{i}].{_result_field(message)}"
                _refuse(field, f"the assistant message before has no call {_shorten(entry.call_id)} that waits.", ": ")
            waiting.remove(entry.call_id)
            continue
        _refuse_waiting(waiting, messages[asked], asked)
        if isinstance(entry, Calling):
            waiting, asked = {call.id for call in entry.calls}, i
    _refuse_waiting(waiting, messages[asked], asked)


def _refuse_waiting(waiting: set[str], message: ChatMessage, i: int) -> None:
    if not waiting:
        return
    field, role = ("tool_calls", "tool") if message.tool_calls else ("function_call", "function")
    missing = ", ".join(sorted(map(_shorten, waiting))[:_SHOWN_CALLS])
    _refuse(f"messages[{i}].{field}", f"must be followed by {role} messages with all results. Missing: {missing}.")


def _read_text(message: ChatMessage, role: Role | None, boxes: BoxWriter, path: str) -> str:
    return "".join(part.text for part in _read_content(message, role, boxes, path) if isinstance(part, Text))


def _read_content(
    message: ChatMessage, role: Role | None, boxes: BoxWriter, path: str
) -> Iterator[Part[ImageReference]]:
    if message.content is None:
        raise UserError(
            f"{path} is required: a string or a list of parts.", param=path, code="missing_required_parameter"
        )
    if isinstance(message.content, str):
        yield Text(message.content)
        return
    if not message.content:
        raise UserError(f"{path} must have at least one part.", param=path, code="invalid_value")
    for i, part in enumerate(message.content):
        yield _read_part(part, role, boxes, f"{path}[{i}]")


def _read_part(part: ContentPart, role: Role | None, boxes: BoxWriter, path: str) -> Part[ImageReference]:
    if part.type == "text":
        if part.text is None:
            raise UserError(f"{path}.text is required.", param=f"{path}.text", code="missing_required_parameter")
        return Text(part.text)
    if part.type == "image_url":
        if role is not Role.USER:
            raise UserError(f"{path}: images belong in user messages.", param=path, code="invalid_value")
        boxes.saw_picture()
        return Image(_read_image(part.image_url, f"{path}.image_url"))
    if part.type == "box":
        if role not in (Role.USER, Role.ASSISTANT):
            raise UserError(f"{path}: boxes belong in user and assistant messages.", param=path, code="invalid_value")
        return Text(boxes.write(part, path))
    raise UserError(
        f"{path}.type must be 'text', 'image_url' or 'box', not {_shorten(part.type)}.",
        param=f"{path}.type",
        code="invalid_value",
    )


def _read_image(image: ImageUrl | str | None, path: str) -> ImageReference:
    if image is None:
        raise UserError(f"{path} is required.", param=path, code="missing_required_parameter")
    if isinstance(image, str):
        return ImageReference(image, path)
    return ImageReference(image.url, f"{path}.url")


def _shorten(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:40] + "...")


def _refuse(param: str, reason: str, after: str = " ") -> NoReturn:
    raise UserError(f"{param}{after}{reason}", param=param, code="invalid_value")
