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
    "string_too_long": lambda limits: f"must have at most {limits['max_length']} characters",
    "string_pattern_mismatch": lambda limits: f"must match {limits['pattern']}",
    "too_short": lambda limits: f"must have at least {limits['min_length']} item(s), not {limits['actual_length']}",
    "too_long": lambda limits: f"must have at most {limits['max_length']} item(s), not {limits['actual_length']}",
}
_SAY_WHAT_WAS_FOUND = ("missing", "extra_forbidden", "too_short", "too_long")
_KEY = "[key]"
"""Pydantic's last step to a fault that is in a key of an object, not in its value."""

MAX_MARKS: Mapping[bytes, int] = {b",": 250_000, b"{": 25_000, b"[": 25_000, b":": 25_000, b"\\": 1_000_000}
"""How often a body may hold each of these: they bound its values, containers, keys and escapes."""

MAX_NON_ASCII_BYTES = 4 * 2**20
"""In a body. With :data:`MAX_MARKS` it bounds the time for which parsing keeps every other thread waiting, which is
seven seconds for 60 MB of numbers and half a second for 60 MB of Chinese. Text that fits a context stays far below, and
base64 has none of all these but the backslashes that some clients put before its slashes."""

_ASCII = bytes(range(128))
_COUNTED_AT_A_TIME = 2**20


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
        return await anyio.to_thread.run_sync(parse_json, body, model)
    return parse_json(body, model)


def parse_json(body: bytes, model: type[ModelT]) -> ModelT:
    """Read JSON. Bodies past ``LARGE_BODY_BYTES`` are for a thread.

    Raises:
        UserError: it is not JSON, or not what ``model`` wants.
    """
    _check_cost(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise explain(error) from None


def _check_cost(body: bytes) -> None:
    """Refuse a body that would take long to parse. Piece by piece, since other threads wait while one is counted."""
    counts = dict.fromkeys(MAX_MARKS, 0)
    n_non_ascii = 0
    for start in range(0, len(body), _COUNTED_AT_A_TIME):
        piece = body[start : start + _COUNTED_AT_A_TIME]
        for mark, limit in MAX_MARKS.items():
            counts[mark] += piece.count(mark)
            if counts[mark] > limit:
                raise _too_complex(f"{limit:,} times {mark.decode()!r}")
        n_non_ascii += 0 if piece.isascii() else len(piece.translate(None, _ASCII))
        if n_non_ascii > MAX_NON_ASCII_BYTES:
            raise _too_complex(f"{MAX_NON_ASCII_BYTES:,} bytes that are not ASCII")


def _too_complex(limit: str) -> UserError:
    return UserError(f"The body holds more than {limit}, which no prompt needs.", code="request_too_complex")


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
    """``("messages", 0, "content")`` as ``messages[0].content``. Steps may be keys that the client made up."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not step.startswith(TAG) and step != _KEY:
            name = step if len(step) <= _SHOWN else step[:_SHOWN] + "..."
            path += f".{name}" if path else name
    return path


def shorten(text: str) -> str:
    """``text`` in quotes, short enough for a message."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


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
