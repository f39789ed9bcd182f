import json
import math
from typing import Any

import pytest

from qwenvl.api.structure import MAX_CHOICES, MAX_STRUCTURE_CHARS, StructureFields, read_structure
from qwenvl.api.validation import parse_json
from qwenvl.engine import Structure
from qwenvl.errors import UserError

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TEXT = json.dumps(SCHEMA)


def read(**fields: Any) -> Structure | None:
    return read_structure(parse_json(json.dumps(fields).encode(), StructureFields))


def schema_format(schema: Any = SCHEMA, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **fields}}


def outputs(**fields: Any) -> dict[str, Any]:
    return {"structured_outputs": fields}


@pytest.mark.parametrize(
    ("fields", "structure"),
    [
        ({}, None),
        ({"response_format": None, "structured_outputs": None}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Structure("json_object", "", "response_format")),
        (
            {"response_format": schema_format(strict=True, description="x")},
            Structure("json_schema", TEXT, "response_format.json_schema.schema"),
        ),
        (
            {"response_format": schema_format(strict=False)},
            Structure("json_schema", TEXT, "response_format.json_schema.schema"),
        ),
        (outputs(json=SCHEMA), Structure("json_schema", TEXT, "structured_outputs.json")),
        (outputs(json=TEXT), Structure("json_schema", TEXT, "structured_outputs.json")),
        (outputs(json_object=True), Structure("json_object", "", "structured_outputs.json_object")),
        (outputs(regex="a+"), Structure("regex", "a+", "structured_outputs.regex")),
        (outputs(choice=["a", "b"]), Structure("choice", ("a", "b"), "structured_outputs.choice")),
        (outputs(grammar='root ::= "a"'), Structure("grammar", 'root ::= "a"', "structured_outputs.grammar")),
        (
            outputs(regex="a", json=None, json_object=False, disable_any_whitespace=False),
            Structure("regex", "a", "structured_outputs.regex"),
        ),
        (
            {"response_format": {"type": "text"}, **outputs(regex="a")},
            Structure("regex", "a", "structured_outputs.regex"),
        ),
    ],
)
def test_structures(fields: dict[str, Any], structure: Structure | None) -> None:
    assert read(**fields) == structure


BAD: list[tuple[dict[str, Any], str]] = [
    ({"response_format": "json_object"}, "response_format"),
    ({"response_format": {}}, "response_format.type"),
    ({"response_format": {"type": "yaml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": schema_format(name="two words")}, "response_format.json_schema.name"),
    ({"response_format": schema_format(name="x" * 65)}, "response_format.json_schema.name"),
    ({"response_format": schema_format(schema="{}")}, "response_format.json_schema.schema"),
    ({"response_format": schema_format(schema=None)}, "response_format.json_schema.schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema.schema"),
    ({"response_format": schema_format(strict=1)}, "response_format.json_schema.strict"),
    (
        {"response_format": schema_format(schema={"description": "x" * MAX_STRUCTURE_CHARS})},
        "response_format.json_schema.schema",
    ),
    (outputs(), "structured_outputs"),
    (outputs(json_object=False), "structured_outputs"),
    (outputs(regex="a", choice=["a"]), "structured_outputs"),
    (outputs(json="{"), "structured_outputs.json"),
    (outputs(json="[]"), "structured_outputs.json"),
    (outputs(json='{"minimum": NaN}'), "structured_outputs.json"),
    (outputs(json='{"minimum": 1e999}'), "structured_outputs.json"),
    (outputs(json={"minimum": math.inf}), "structured_outputs.json"),
    ({"response_format": schema_format(schema={"const": math.nan})}, "response_format.json_schema.schema"),
    (outputs(json="[" * 20_000), "structured_outputs.json"),
    (outputs(json=[]), "structured_outputs.json"),
    (outputs(regex=""), "structured_outputs.regex"),
    (outputs(regex="x" * (MAX_STRUCTURE_CHARS + 1)), "structured_outputs.regex"),
    (outputs(choice=[]), "structured_outputs.choice"),
    (outputs(choice=["a", ""]), "structured_outputs.choice[1]"),
    (outputs(choice=["a"] * (MAX_CHOICES + 1)), "structured_outputs.choice"),
    (outputs(choice=["x" * MAX_STRUCTURE_CHARS, "y"]), "structured_outputs.choice"),
    (outputs(grammar=1), "structured_outputs.grammar"),
    (outputs(structural_tag="x"), "structured_outputs.structural_tag"),
    (outputs(regex="a", whitespace_pattern="x"), "structured_outputs.whitespace_pattern"),
    (outputs(regex="a", disable_any_whitespace=True), "structured_outputs.disable_any_whitespace"),
    ({"response_format": {"type": "json_object"}, **outputs(regex="a")}, "structured_outputs"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[f"{param}-{i}" for i, (_, param) in enumerate(BAD)])
def test_bad_structures_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UserError) as caught:
        read(**fields)
    assert caught.value.param == param
    assert param in caught.value.message
    assert len(caught.value.message) < 200
