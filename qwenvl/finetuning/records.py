"""Conversations as data files hold them: the original's JSON, read whole and checked field by field.

A file is a list of ``{"id": .., "conversations": [{"from": "user" | "assistant", "value": ..}, ..]}``, or has one such
object on each line. Pictures are ``<img>path or URL</img>`` in a user's value. A first ``system`` turn may say what the
default system message would.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwenvl.chat import Image, Message, Role, read_parts
from qwenvl.errors import UserError

SHOWN_PROBLEMS = 20

_GROUNDING_TAG = re.compile(r"<(/?)(ref|box|quad)>")


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation.

    Attributes:
        index: its place in the file, from 0; in a file of JSON lines, the number of its line, from 1.
        name: how messages call it: its place and its id.
    """

    index: int
    id: str | None
    messages: tuple[Message[str], ...]
    name: str

    @property
    def pictures(self) -> Iterator[str]:
        """Paths and URLs, in order."""
        return (part.image for message in self.messages for part in message.parts if isinstance(part, Image))


class DataError(UserError):
    """A data file is at fault; the message names each problem's file, sample and field."""

    def __init__(self, problems: list[str]) -> None:
        shown = problems[:SHOWN_PROBLEMS]
        more = len(problems) - len(shown)
        super().__init__("\n".join([*shown, *([f"and {more} more problems"] if more else [])]))
        self.problems = problems


def read_records(path: Path) -> tuple[list[Record], list[str]]:
    """The conversations of a data file, and what is wrong with the others.

    Raises:
        DataError: the file cannot be read, is not JSON, or holds no conversation.
    """
    records: list[Record] = []
    problems: list[str] = []
    is_empty = True
    for place, index, value in _values(path):
        is_empty = False
        name = f"{path}: {place}"
        sample_id = value.get("id") if isinstance(value, dict) else None
        if sample_id is not None:
            name += f" (id {json.dumps(sample_id, ensure_ascii=False)[:80]})"
        messages: list[Message[str]] = []
        found = [f"{name}: {problem}" for problem in _read(value, messages)]
        problems += found
        if not found:
            records.append(Record(index, None if sample_id is None else str(sample_id), tuple(messages), name))
    if is_empty:
        raise DataError([f"{path} holds no conversations"])
    return records, problems


def repeated_ids(records: list[Record]) -> list[str]:
    """Ids that more than one conversation has."""
    seen: dict[str, int] = {}
    for record in records:
        if record.id is not None:
            seen[record.id] = seen.get(record.id, 0) + 1
    return [sample_id for sample_id, count in seen.items() if count > 1]


def _values(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Each conversation's place in the file, in words and as a number, and what the JSON holds there."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError([f"cannot read {path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise DataError([f"{path} is not UTF-8: byte {error.start}"]) from error
    if not text.strip():
        raise DataError([f"{path} is empty"])
    if text.lstrip()[0] == "{" and path.suffix != ".json":
        yield from _lines(path, text)
        return
    values = _parse(text, path, first_line=1)
    if not isinstance(values, list):
        raise DataError([f"{path} must hold a list of conversations, not {_kind(values)}"])
    yield from ((f"sample {i}", i, value) for i, value in enumerate(values))


def _lines(path: Path, text: str) -> Iterator[tuple[str, int, Any]]:
    # Not splitlines(): some of what it splits at may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", number, _parse(line, path, first_line=number)


def _parse(text: str, path: Path, *, first_line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise DataError([f"{path}, line {line}, column {error.colno}: not JSON: {error.msg}"]) from error
    except RecursionError as error:
        raise DataError([f"{path}: not JSON that can be read: it is nested too deep"]) from error


def _read(value: Any, messages: list[Message[str]]) -> Iterator[str]:
    """What is wrong with one conversation; its messages go into ``messages``."""
    if not isinstance(value, dict):
        yield f"must be an object with id and conversations, not {_kind(value)}"
        return
    if not isinstance(value.get("id"), str | int | None):
        yield f"id must be a string, not {_kind(value['id'])}"
    turns = value.get("conversations")
    if not isinstance(turns, list) or not turns:
        given = "is missing" if turns is None else "is empty" if turns == [] else f"is {_kind(turns)}"
        yield f"conversations {given}: it must be a list of turns"
        return
    roles: list[str] = []
    for i, turn in enumerate(turns):
        path = f"conversations[{i}]"
        if not isinstance(turn, dict):
            yield f"{path} must be an object with from and value, not {_kind(turn)}"
            return
        role = turn.get("from")
        if role not in tuple(Role):
            given = "is missing" if role is None else f"is {str(role)[:40]!r}"
            yield f"{path}.from {given}: it must be user or assistant (or system, in the first turn)"
            return
        roles.append(role)
        yield from (f"{path}.value {problem}" for problem in _read_turn(Role(role), turn.get("value"), messages))
    yield from _wrong_order(roles)


def _wrong_order(roles: list[str]) -> Iterator[str]:
    expected = Role.USER
    start = 1 if roles[0] == Role.SYSTEM else 0
    for i, role in enumerate(roles[start:], start=start):
        if role != expected:
            before = f"after a turn of the {roles[i - 1]}" if i else "the first turn"
            yield f"conversations[{i}].from is {role!r} ({before}): it must be {expected.value!r}"
            return
        expected = Role.ASSISTANT if role == Role.USER else Role.USER
    if roles[-1] != Role.ASSISTANT:
        yield f"conversations[{len(roles) - 1}] is a turn of the {roles[-1]}: the last must be an answer"


def _read_turn(role: Role, value: Any, messages: list[Message[str]]) -> Iterator[str]:
    if not isinstance(value, str):
        yield "is missing" if value is None else f"must be a string, not {_kind(value)}"
        return
    if not value.strip():
        yield "is empty"
        return
    yield from _unbalanced(value)
    try:
        parts = read_parts(value)
    except UserError as error:
        yield f"cannot be read: {error.message}"
        return
    if role is not Role.USER and any(isinstance(part, Image) for part in parts):
        yield f"holds a picture: those belong to the user's turns, not to the {role}'s"
        return
    messages.append(Message(role, parts))


def _unbalanced(text: str) -> Iterator[str]:
    """The first ``<ref>``, ``<box>`` or ``<quad>`` that does not close, or closes nothing."""
    opened: str | None = None
    for tag in _GROUNDING_TAG.finditer(text):
        closing, name = bool(tag[1]), tag[2]
        if closing and opened != name:
            yield f"holds a {tag[0]} that closes nothing: {text[max(0, tag.start() - 20) : tag.end()]!r}"
            return
        if not closing and opened is not None:
            yield f"holds a <{opened}> that is not closed before {tag[0]}"
            return
        opened = None if closing else name
    if opened is not None:
        yield f"holds a <{opened}> that is not closed"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
