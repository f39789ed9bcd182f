"""Request bodies: JSON bytes to a wire type, and pydantic's complaints to one sentence that names the field."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import anyio.to_thread
from fastapi import Request
from pydantic import BaseModel, ValidationError

from qwenvl.api.errors import MediaTypeError
from qwenvl.errors import UserError

ModelT = TypeVar("ModelT", bound=BaseModel)

TAG = "@"
"""First letter of union tags in the wire types, which pydantic reports among the field names."""

LARGE_BODY_BYTES = 256 * 1024
"""Bodies past this are parsed in a thread: they take longer than the event loop may stand still."""

_SHOWN = 40
_JSON_NAMES = {"True": "true", "False": "false", "None": "null", "nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

_MESSAGES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "string_type": lambda _: "must be a string",
    "int_type": lambda _: "must be an integer",
    "int_from_float": lambda _: "must be an integer",
    "float_type": lambda _: "must be a number",
    "bool_type": lambda _: "must be true or false",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be an object",
    "model_type": lambda _: "must be an object",
    "model_attributes_type": lambda _: "must be an object",
    "extra_forbidden": lambda _: "is not a known option",
    "finite_number": lambda _: "must be a finite number",
    "greater_than_equal": lambda limits: f"must be at least {_number(limits['ge'])}",
    "greater_than": lambda limits: f"must be greater than {_number(limits['gt'])}",
    "less_than_equal": lambda limits: f"must be at most {_number(limits['le'])}",
    "less_than": lambda limits: f"must be less than {_number(limits['lt'])}",
    "literal_error": lambda limits: f"must be {limits['expected']}",
    "string_too_short": lambda _: "must not be empty",  # no string has another lower limit
    "too_short": lambda limits: f"must have at least {limits['min_length']} item(s), not {limits['actual_length']}",
    "too_long": lambda limits: f"must have at most {limits['max_length']} item(s), not {limits['actual_length']}",
}
_SAY_WHAT_WAS_FOUND = ("missing", "extra_forbidden", "too_short", "too_long")


async def parse_body(request: Request, model: type[ModelT]) -> ModelT:
    """Read the request's JSON body.

    Raises:
        UserError: not declared as JSON, not JSON, or not what ``model`` wants; ``param`` is the first field at fault.
    """
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise MediaTypeError(f"The body must be JSON, sent with 'Content-Type: application/json', not {media_type!r}.")
    body = await request.body()
    if len(body) > LARGE_BODY_BYTES:
        return await anyio.to_thread.run_sync(_parse, body, model)
    return _parse(body, model)


def _parse(body: bytes, model: type[ModelT]) -> ModelT:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise explain(error) from None


def explain(error: ValidationError) -> UserError:
    """The first complaint, as one sentence about one field."""
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    if first["type"] == "json_invalid":
        return UserError(f"The body is not valid JSON: {context.get('error', 'it cannot be parsed')}.")
    param = field_path(first["loc"])
    if not param:
        return UserError("The body must be a JSON object.")
    describe = _MESSAGES.get(first["type"])
    message = describe(context) if describe else first["msg"]
    return UserError(f"{param} {message}{_found(first)}.", param=param, code=_code(first["type"]))


def field_path(location: Sequence[int | str]) -> str:
    """``("messages", 0, "content")`` as ``messages[0].content``."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not step.startswith(TAG):
            path += f".{step}" if path else step
    return path


def _number(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else str(limit)


def _found(error: Mapping[str, Any]) -> str:
    found = error["input"]
    if error["type"] in _SAY_WHAT_WAS_FOUND or (isinstance(found, str) and len(found) > _SHOWN):
        return ""
    if isinstance(found, bool | int | float | str) or found is None:
        shown = repr(found) if isinstance(found, str) else str(found)
        return f", not {_JSON_NAMES.get(shown, shown)}" if len(shown) <= _SHOWN else ""
    return ", not a list" if isinstance(found, list) else ", not an object"


def _code(kind: str) -> str | None:
    if kind == "missing":
        return "missing_required_parameter"
    return "invalid_type" if kind.endswith("_type") else "invalid_value"
