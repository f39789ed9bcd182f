"""Wire messages to a conversation. Images stay references: they are fetched once the prompt is known to fit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qwenvl.api.chat.schemas import ChatMessage, ContentPart, ImageUrl
from qwenvl.chat import Image, Message, Part, PromptFormat, Role, Text
from qwenvl.errors import UserError


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Where an image is, and which request field says so."""

    url: str
    param: str


Conversation = list[Message[ImageReference]]

_ROLES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
_TOOL_ROLES = ("tool", "function")
_TOOL_FIELDS = ("tool_calls", "function_call")


def read_conversation(messages: Sequence[ChatMessage], prompt_format: PromptFormat) -> Conversation:
    """The conversation that the wire messages hold.

    Raises:
        UserError: a role, a part or a content that this server does not take; ``param`` is the field.
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
    return [_read_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _read_message(message: ChatMessage, path: str) -> Message[ImageReference]:
    role = _read_role(message.role, path)
    for name in _TOOL_FIELDS:
        if (message.model_extra or {}).get(name):
            raise UserError(f"{path}.{name} is not supported by this server.", param=f"{path}.{name}")
    parts = tuple(_read_content(message, role, f"{path}.content"))
    # A model may answer with nothing, and that answer must be fit to be sent back as a past turn.
    if role is not Role.ASSISTANT and not any(isinstance(part, Image) or part.text for part in parts):
        raise UserError(f"{path}.content must not be empty.", param=f"{path}.content", code="invalid_value")
    return Message(role, parts)


def _read_role(name: str, path: str) -> Role:
    if name in _ROLES:
        return _ROLES[name]
    known = ", ".join(_ROLES)
    reason = "are not supported by this server" if name in _TOOL_ROLES else "do not exist"
    raise UserError(
        f"{path}.role: messages with the role {_shorten(name)} {reason}. It must be one of {known}.",
        param=f"{path}.role",
        code="invalid_value",
    )


def _read_content(message: ChatMessage, role: Role, path: str) -> Iterator[Part[ImageReference]]:
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
        yield _read_part(part, role, f"{path}[{i}]")


def _read_part(part: ContentPart, role: Role, path: str) -> Part[ImageReference]:
    if part.type == "text":
        if part.text is None:
            raise UserError(f"{path}.text is required.", param=f"{path}.text", code="missing_required_parameter")
        return Text(part.text)
    if part.type == "image_url":
        if role is not Role.USER:
            raise UserError(f"{path}: images belong in user messages.", param=path, code="invalid_value")
        return Image(_read_image(part.image_url, f"{path}.image_url"))
    raise UserError(
        f"{path}.type must be 'text' or 'image_url', not {_shorten(part.type)}.",
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
