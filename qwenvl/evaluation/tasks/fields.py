"""Fields of a line of input, read strictly: what is missing or of another kind is named."""

import json
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any

from qwenvl.evaluation.tasks.task import Flaw

_ID_FIELDS = ("question_id", "questionId", "index", "id")


class MalformedError(ValueError):
    """A line that is not what its task's lines are."""

    def __init__(self, message: str, flaw: Flaw = Flaw.MALFORMED) -> None:
        super().__init__(message)
        self.flaw = flaw


def read_object(line: str) -> Mapping[str, Any]:
    """A line of JSON.

    Raises:
        MalformedError: it is none, or no object.
    """
    try:
        fields = json.loads(line)
        if "\\u" in line:
            # Half a character can be escaped, and then goes nowhere: to no server and into no file.
            json.dumps(fields, ensure_ascii=False).encode()
    except (JSONDecodeError, UnicodeEncodeError, RecursionError) as error:
        raise MalformedError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise MalformedError("not a JSON object")
    return fields


def text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise MalformedError(f"{name} must be a string, not {_shown(value)}")
    return value


def texts(fields: Mapping[str, Any], name: str) -> list[str]:
    """A list of strings; a string or a number alone is a list of one."""
    value = fields.get(name)
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in values):
        raise MalformedError(f"{name} must be a string or a list of strings, not {_shown(value)}")
    return [str(one) for one in values]


def number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        raise MalformedError(f"{name} must be a number, not {_shown(value)}")
    return value


def box(fields: Mapping[str, Any], name: str) -> list[float]:
    value = fields.get(name)
    if not isinstance(value, list) or len(value) != 4:
        raise MalformedError(f"{name} must be [x1, y1, x2, y2], not {_shown(value)}")
    return [number({name: one}, name) for one in value]


def identity(fields: Mapping[str, Any], index: int) -> str:
    """What a line calls itself, or its place: not every task's lines have names."""
    for name in _ID_FIELDS:
        if isinstance(value := fields.get(name), str | int) and not isinstance(value, bool):
            return str(value)
    return f"line {index + 1}"


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:60]
