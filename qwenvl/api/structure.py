"""Structured output on the wire: OpenAI's ``response_format`` and vLLM's ``structured_outputs``."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

from anyio import to_thread
from pydantic import Field, Tag

from qwenvl.api.wire import WireModel, by_shape
from qwenvl.engine import Structure
from qwenvl.errors import UserError

MAX_STRUCTURE_CHARS = 100_000
"""In a schema, a regular expression, a grammar or all choices: it is compiled before the answer begins."""
MAX_CHOICES = 1000

FORMATS = ("text", "json_object", "json_schema")

_UNSUPPORTED = "unsupported_parameter"


class JsonSchema(WireModel):
    """``strict`` makes no difference: an answer always keeps to the schema."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(WireModel):
    type: str
    json_schema: JsonSchema | None = None


class StructuredOutputs(WireModel):
    """Exactly one of the first five."""

    json_: Annotated[
        Annotated[str, Tag("@a string")] | Annotated[dict[str, Any], Tag("@an object")] | Annotated[None, Tag("@null")],
        by_shape({str: "a string", dict: "an object"}),
    ] = Field(None, alias="json")
    json_object: bool | None = None
    regex: str | None = Field(None, min_length=1)
    choice: list[Annotated[str, Field(min_length=1)]] | None = Field(None, min_length=1, max_length=MAX_CHOICES)
    grammar: str | None = Field(None, min_length=1)

    structural_tag: Any = None
    disable_any_whitespace: bool | None = None
    disable_additional_properties: bool | None = None
    whitespace_pattern: str | None = None


class StructureFields(WireModel):
    """The two parameters by which a request says what its answer must look like; it may give one of them."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None


_REFUSED_OPTIONS = (
    "structural_tag",
    "disable_any_whitespace",
    "disable_additional_properties",
    "whitespace_pattern",
)


async def structure_of(wire: StructureFields) -> Structure | None:
    """As :func:`read_structure`, in a thread where there is something to read: it may be large."""
    if wire.response_format is None and wire.structured_outputs is None:
        return None
    return await to_thread.run_sync(read_structure, wire)


def read_structure(wire: StructureFields) -> Structure | None:
    """What the answer must look like; None where it is free.

    Raises:
        UserError: both parameters ask for something, one asks for two things, or it is too large or no JSON.
    """
    found = [
        structure
        for structure in (_of_format(wire.response_format), _of_outputs(wire.structured_outputs))
        if structure is not None
    ]
    if len(found) > 1:
        _refuse("structured_outputs", "and response_format both say what the answer must look like. Give one of them.")
    return found[0] if found else None


def _of_format(wanted: ResponseFormat | None) -> Structure | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Structure("json_object", param="response_format")
    if wanted.type != "json_schema":
        _refuse("response_format.type", f"must be one of {', '.join(FORMATS)}.")
    if wanted.json_schema is None:
        _refuse(
            "response_format.json_schema",
            "is required with the type json_schema.",
            code="missing_required_parameter",
        )
    return schema_structure(wanted.json_schema.schema_, "response_format.json_schema.schema")


def schema_structure(schema: dict[str, Any], param: str) -> Structure:
    """The structure of answers that are instances of a JSON schema.

    Raises:
        UserError: the schema is too large, or no JSON; it names ``param``.
    """
    text = schema_text(schema, param)
    _check_size(len(text), param)
    return Structure("json_schema", text, param)


def schema_text(schema: dict[str, Any], param: str) -> str:
    """A JSON schema as JSON text.

    Raises:
        UserError: it holds numbers that JSON cannot write; it names ``param``.
    """
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except ValueError:
        _refuse(param, "must not hold NaN or Infinity: JSON has neither.")


def _of_outputs(wanted: StructuredOutputs | None) -> Structure | None:
    if wanted is None:
        return None
    for name in _REFUSED_OPTIONS:
        # False is what all of these are where they are left out.
        if getattr(wanted, name) not in (None, False):
            _refuse(f"structured_outputs.{name}", "is not supported by this server. Leave it out.", code=_UNSUPPORTED)
    structures = list(_structures(wanted))
    if len(structures) != 1:
        _refuse("structured_outputs", "must have exactly one of json, json_object, regex, choice and grammar.")
    return structures[0]


def _structures(wanted: StructuredOutputs) -> Iterator[Structure]:
    path = "structured_outputs"
    if wanted.json_ is not None:
        schema = _read_json(wanted.json_, f"{path}.json") if isinstance(wanted.json_, str) else wanted.json_
        yield schema_structure(schema, f"{path}.json")
    if wanted.json_object:
        yield Structure("json_object", param=f"{path}.json_object")
    if wanted.regex is not None:
        _check_size(len(wanted.regex), f"{path}.regex")
        yield Structure("regex", wanted.regex, f"{path}.regex")
    if wanted.choice is not None:
        _check_size(sum(map(len, wanted.choice)), f"{path}.choice")
        yield Structure("choice", tuple(wanted.choice), f"{path}.choice")
    if wanted.grammar is not None:
        _check_size(len(wanted.grammar), f"{path}.grammar")
        yield Structure("grammar", wanted.grammar, f"{path}.grammar")


def _read_json(text: str, param: str) -> dict[str, Any]:
    _check_size(len(text), param)
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        _refuse(param, "must be a JSON schema, and this text is not valid JSON.")
    if not isinstance(schema, dict):
        _refuse(param, "must be a JSON schema: an object.")
    return schema


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_size(n_chars: int, param: str) -> None:
    if n_chars > MAX_STRUCTURE_CHARS:
        _refuse(param, f"must have at most {MAX_STRUCTURE_CHARS:,} characters, not {n_chars:,}.")


def _refuse(param: str, reason: str, *, code: str = "invalid_value") -> NoReturn:
    raise UserError(f"{param} {reason}", param=param, code=code)
