"""Answers of the fake engine that have a structure: one instance of a schema, one of several choices."""

import json
import re
from typing import Any

from qwenvl.engine import Structure
from qwenvl.errors import UserError

BOX = "(100,200),(300,400)</box>"
WORDS = ("a", "0", "1", "7", "42", "yes", "no", "abc", "2024-01-31", "ab@cd.ef", "(1,2)", "Hello", BOX, "")
"""What is tried as the answer to a regular expression."""

_DEEPEST = 32


def structured_answer(structure: Structure, number: int) -> str:
    """An answer that keeps to ``structure``; where several are known, ``number`` chooses.

    Raises:
        UserError: the structure is broken, or nothing here knows an answer to it.
    """
    match structure.kind, structure.value:
        case "choice", tuple(choices) if choices:
            return choices[number % len(choices)]
        case "json_object", _:
            return json.dumps({"answer": number % 10})
        case "json_schema", str(text):
            return json.dumps(_instance_of(text, structure.param), ensure_ascii=False)
        case "regex", str(pattern):
            return _matching(pattern, structure.param)
        case "grammar", str(grammar):
            return _first_sentence(grammar, structure.param)
    raise UserError(f"{structure.param} is empty", param=structure.param)


def _instance_of(text: str, param: str) -> Any:
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise UserError(f"{param} is not a JSON schema: {error}", param=param) from error
    return _Instances(schema, param).of(schema)


class _Instances:
    """The smallest instances of the schemas in one document."""

    def __init__(self, root: Any, param: str) -> None:
        self._root = root
        self._param = param

    def of(self, schema: Any, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            raise UserError(f"{self._param} nests more than {_DEEPEST} levels", param=self._param)
        if schema is True or schema == {}:
            return {} if depth == 0 else ""
        if not isinstance(schema, dict):
            raise UserError(f"{self._param} is not a JSON schema", param=self._param)
        if "$ref" in schema:
            return self.of(self._referenced(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        for key in ("anyOf", "oneOf", "allOf"):
            if schema.get(key):
                return self.of(schema[key][0], depth + 1)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        return self._of_type(kind[0] if isinstance(kind, list) else kind, schema, depth)

    def _of_type(self, kind: Any, schema: dict[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                properties = schema.get("properties", {})
                return {name: self.of(properties.get(name, True), depth + 1) for name in schema.get("required", [])}
            case "array":
                return [self.of(schema.get("items", True), depth + 1) for _ in range(schema.get("minItems", 0))]
            case "string":
                return _matching(schema["pattern"], self._param) if "pattern" in schema else self._string(schema)
            case "integer" | "number":
                return max(schema.get("minimum", 0), schema.get("exclusiveMinimum", -1) + 1)
            case "boolean":
                return True
            case "null":
                return None
        raise UserError(f"{self._param}: {kind!r} is no JSON type", param=self._param)

    def _string(self, schema: dict[str, Any]) -> str:
        length = schema.get("minLength", 0)
        return "text" if length <= 4 <= schema.get("maxLength", 4) else "x" * length

    def _referenced(self, reference: Any) -> Any:
        found = self._root
        try:
            for name in str(reference).removeprefix("#").strip("/").split("/"):
                found = found[name] if name else found
        except (KeyError, TypeError) as error:
            raise UserError(f"{self._param}: $ref {reference!r} leads nowhere", param=self._param) from error
        return found


def _matching(pattern: str, param: str) -> str:
    try:
        matching = [word for word in (pattern, *WORDS) if re.fullmatch(pattern, word)]
    except re.error as error:
        raise UserError(f"{param} is not a regular expression: {error}", param=param) from error
    if not matching:
        raise UserError(f"{param}: the fake engine knows no text that matches {pattern!r}", param=param)
    return matching[0]


def _first_sentence(grammar: str, param: str) -> str:
    found = re.match(r'\s*root\s*::=\s*("(?:[^"\\]|\\.)*")', grammar)
    if found is None:
        raise UserError(f"{param} is not a grammar that the fake engine knows", param=param)
    return str(json.loads(found[1]))
