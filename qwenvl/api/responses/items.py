"""Wire items to the items that are kept, listed and rendered: roles, parts, calls, references."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from qwenvl.api.responses.objects import (
    FunctionCall,
    FunctionCallOutput,
    InputBox,
    InputImage,
    InputMessage,
    InputText,
    Item,
    OutputMessage,
    OutputRefusal,
    OutputText,
)
from qwenvl.api.responses.schemas import InputItem, InputPart
from qwenvl.api.validation import shorten
from qwenvl.errors import UserError

_INPUT_PARTS = ("input_text", "input_image", "box")
_OUTPUT_PARTS = ("output_text", "refusal")
_ITEMS = ("message", "function_call", "function_call_output", "item_reference", "reasoning")
_ROLES = ("user", "assistant", "system", "developer")


@dataclass(frozen=True, slots=True, eq=False)
class PlacedItem:
    """An item, and which request field says it."""

    item: Item
    param: str


def count_images(items: Iterable[PlacedItem]) -> int:
    """Images in the messages of the user."""
    messages = (placed.item for placed in items if isinstance(placed.item, InputMessage))
    return sum(isinstance(part, InputImage) for message in messages for part in message.content)


def referenced_ids(wire: str | Sequence[InputItem]) -> Iterator[str]:
    """Ids of the stored items that an input names."""
    if not isinstance(wire, str):
        yield from (item.id for item in wire if _type_of(item) == "item_reference" and item.id)


def read_items(wire: str | Sequence[InputItem], stored: Mapping[str, Item]) -> list[PlacedItem]:
    """The items of a request's ``input``. Reasoning is left out: this model has none.

    Args:
        wire: as the request has it.
        stored: the caller's stored items, by the ids that ``wire`` refers to.

    Raises:
        UserError: an item or a part that this server does not take; ``param`` is the field.
    """
    if isinstance(wire, str):
        content = _written(wire, "input")
        message = InputMessage(
            id=new_id("msg"),
            type="message",
            role="user",
            status="completed",
            content=[InputText(type="input_text", text=content)],
        )
        return [PlacedItem(message, "input")]
    items = [
        PlacedItem(_read_item(item, stored, f"input[{i}]"), f"input[{i}]")
        for i, item in enumerate(wire)
        if item.type != "reasoning"
    ]
    if not items:
        raise UserError("input must have at least one item.", param="input", code="invalid_value")
    return items


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


def _type_of(item: InputItem) -> str:
    if item.type is not None:
        return item.type
    return "message" if item.role is not None or item.id is None else "item_reference"


def _read_item(item: InputItem, stored: Mapping[str, Item], path: str) -> Item:
    match _type_of(item):
        case "message":
            return _read_message(item, path)
        case "function_call":
            return FunctionCall(
                id=item.id or new_id("fc"),
                type="function_call",
                call_id=_required(item.call_id, f"{path}.call_id"),
                name=_required(item.name, f"{path}.name"),
                arguments=_required(item.arguments, f"{path}.arguments"),
                status="completed",
            )
        case "function_call_output":
            return FunctionCallOutput(
                id=item.id or new_id("fco"),
                type="function_call_output",
                call_id=_required(item.call_id, f"{path}.call_id"),
                output=_read_output(item, f"{path}.output"),
                status="completed",
            )
        case "item_reference":
            return _read_reference(item, stored, f"{path}.id")
        case other:
            raise _unknown(other, _ITEMS, f"{path}.type")


def _read_message(item: InputItem, path: str) -> Item:
    role = _required(item.role, f"{path}.role")
    content = item.content
    if content is None:
        raise _missing(f"{path}.content")
    match role:
        case "assistant":
            return OutputMessage(
                id=item.id or new_id("msg"),
                type="message",
                role=role,
                status="completed",
                content=[_output_text(content)] if isinstance(content, str) else _output_parts(content, path),
            )
        case "user" | "system" | "developer":
            return InputMessage(
                id=item.id or new_id("msg"),
                type="message",
                role=role,
                status="completed",
                content=_input_parts(content, f"{path}.content", images=role == "user"),
            )
        case _:
            raise _unknown(role, _ROLES, f"{path}.role")


def _input_parts(content: str | list[InputPart], path: str, *, images: bool) -> list[InputText | InputImage | InputBox]:
    if isinstance(content, str):
        return [InputText(type="input_text", text=_written(content, path))]
    parts = [_input_part(part, f"{path}[{i}]", images=images) for i, part in enumerate(content)]
    if not any(not isinstance(part, InputText) or part.text for part in parts):
        raise _empty(path)
    return parts


def _input_part(part: InputPart, path: str, *, images: bool) -> InputText | InputImage | InputBox:
    match part.type:
        case "input_text":
            return InputText(type="input_text", text=_required(part.text, f"{path}.text"))
        case "input_image" if not images:
            raise UserError(f"{path}: images belong in user messages.", param=path, code="invalid_value")
        case "input_image":
            if part.file_id is not None:
                raise _unsupported(f"{path}.file_id", "Give the image as image_url, a URL or a data URL.")
            url = _required(part.image_url, f"{path}.image_url")
            return InputImage(type="input_image", image_url=url, detail=part.detail or "auto")
        case "box" if not images:
            raise UserError(f"{path}: boxes belong in user messages.", param=path, code="invalid_value")
        case "box":
            return InputBox(
                type="box", ref=part.ref, box=part.box, image_index=part.image_index, unit=part.unit or "pixel"
            )
        case other:
            raise _unknown(other, _INPUT_PARTS, f"{path}.type")


def _output_parts(content: list[InputPart], path: str) -> list[OutputText | OutputRefusal]:
    return [_output_part(part, f"{path}.content[{i}]") for i, part in enumerate(content)]


def _output_part(part: InputPart, path: str) -> OutputText | OutputRefusal:
    match part.type:
        case "output_text":
            return _output_text(_required(part.text, f"{path}.text"))
        case "refusal":
            return OutputRefusal(type="refusal", refusal=_required(part.refusal, f"{path}.refusal"))
        case other:
            raise _unknown(other, _OUTPUT_PARTS, f"{path}.type")


def _output_text(text: str) -> OutputText:
    return OutputText(type="output_text", text=text, annotations=[], logprobs=[])


def _read_output(item: InputItem, path: str) -> str | list[InputText | InputImage]:
    if item.output is None:
        raise _missing(path)
    if isinstance(item.output, str):
        return item.output
    parts = [_input_part(part, f"{path}[{i}]", images=False) for i, part in enumerate(item.output)]
    return [part for part in parts if not isinstance(part, InputBox)]


def _read_reference(item: InputItem, stored: Mapping[str, Item], path: str) -> Item:
    item_id = _required(item.id, path)
    if item_id not in stored:
        raise UserError(f"{path}: item with id {shorten(item_id)} not found.", param=path, code="invalid_value")
    return stored[item_id]


def _required(value: str | None, path: str) -> str:
    if value is None:
        raise _missing(path)
    return value


def _written(text: str, path: str) -> str:
    if not text:
        raise _empty(path)
    return text


def _missing(path: str) -> UserError:
    return UserError(f"{path} is required.", param=path, code="missing_required_parameter")


def _empty(path: str) -> UserError:
    return UserError(f"{path} must not be empty.", param=path, code="invalid_value")


def _unsupported(path: str, advice: str) -> UserError:
    return UserError(f"{path} is not supported by this server. {advice}", param=path, code="unsupported_parameter")


def _unknown(found: str, known: Sequence[str], path: str) -> UserError:
    return UserError(
        f"{path} must be one of {', '.join(known)}, not {shorten(found)}.", param=path, code="invalid_value"
    )
