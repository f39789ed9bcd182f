import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwenvl.api import Settings
from qwenvl.api.chat.tool_schemas import MAX_CALLS, MAX_TOOLS, ToolFields
from qwenvl.api.chat.tools import OfferedTools, read_tools
from qwenvl.api.structure import MAX_STRUCTURE_CHARS
from qwenvl.chat import PromptFormat
from tests.api.chat.tooling import CITY, QUESTION, call, calling, function, result, tool
from tests.api.chatting import CHAT, body, image_part, refusal, text_part
from tests.api.live import in_process
from tests.fake_engine import FakeEngine, model_info


async def offered(**fields: Any) -> OfferedTools:
    return await read_tools(ToolFields.model_validate_json(json.dumps(fields)))


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


@pytest.mark.parametrize(
    ("choice", "names", "forced"),
    [
        (None, ["a", "b", "c"], False),
        ("auto", ["a", "b", "c"], False),
        ("none", [], False),
        ("required", ["a", "b", "c"], True),
        (named("b"), ["b"], True),
        (allowed("auto", "c", "a"), ["a", "c"], False),
        (allowed("required", "c", "a"), ["a", "c"], True),
    ],
)
async def test_choices(choice: Any, names: list[str], forced: bool) -> None:
    found = await offered(tools=[tool("a"), tool("b"), tool("c")], tool_choice=choice)
    assert [entry.name for entry in found.tools] == names
    assert (found.forced, found.structure is not None, found.is_legacy) == (forced, forced, False)


@pytest.mark.parametrize(
    ("choice", "names", "forced"),
    [(None, ["a", "b"], False), ("auto", ["a", "b"], False), ("none", [], False), ({"name": "b"}, ["b"], True)],
)
async def test_choices_of_functions(choice: Any, names: list[str], forced: bool) -> None:
    found = await offered(functions=[function("a"), function("b")], function_call=choice)
    assert [entry.name for entry in found.tools] == names
    assert found.forced == forced
    assert found.is_legacy or not names


async def test_a_forced_tool_has_the_schema_of_its_parameters() -> None:
    found = await offered(tools=[tool("a"), tool("b", None)], tool_choice=named("a"))
    assert found.structure is not None
    assert (found.structure.kind, found.structure.param) == ("json_schema", "tools[0].function.parameters")
    assert json.loads(str(found.structure.value)) == CITY


async def test_a_tool_without_parameters_takes_none() -> None:
    for parameters in (None, {}):
        found = await offered(tools=[tool("a", parameters)], tool_choice="required")
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        assert found.structure is not None
        assert json.loads(str(found.structure.value)) == json.loads(found.tools[0].parameters) == schema


async def test_references_lead_to_the_same_places_in_a_choice() -> None:
    tree = {
        "type": "object",
        "properties": {
            "root": {"$ref": "#/$defs/Node"},
            "again": {"$ref": "#"},
            "$ref": {"type": "string", "default": {"$ref": "#/x"}, "enum": [{"$ref": "#"}]},
            "far": {"$ref": "https://example.com/schema"},
        },
        "$defs": {"Node": {"type": "object", "properties": {"children": {"items": [{"$ref": "#/$defs/Node"}]}}}},
    }
    found = await offered(tools=[tool("tree", tree), tool("b")], tool_choice="required")
    assert found.structure is not None
    assert found.structure.param == "tools"
    schema = json.loads(str(found.structure.value))
    assert [branch["properties"]["Action"] for branch in schema["anyOf"]] == [{"const": "tree"}, {"const": "b"}]
    moved = schema["$defs"]["tree"]["properties"]
    assert moved["root"] == {"$ref": "#/$defs/tree/$defs/Node"}
    assert moved["again"] == {"$ref": "#/$defs/tree"}
    assert moved["$ref"] == tree["properties"]["$ref"]  # type: ignore[index]
    assert moved["far"] == tree["properties"]["far"]  # type: ignore[index]
    node = schema["$defs"]["tree"]["$defs"]["Node"]
    assert node["properties"]["children"]["items"] == [{"$ref": "#/$defs/tree/$defs/Node"}]


TOOLS = [tool()]
BAD_TOOLS: list[tuple[dict[str, Any], str]] = [
    ({"tools": {}}, "tools"),
    ({"tools": [{}]}, "tools[0].type"),
    ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tools": [tool("")]}, "tools[0].function.name"),
    ({"tools": [tool("a b")]}, "tools[0].function.name"),
    ({"tools": [tool("wetter_für")]}, "tools[0].function.name"),
    ({"tools": [tool("a\n")]}, "tools[0].function.name"),
    ({"tools": [tool("a" * 65)]}, "tools[0].function.name"),
    ({"tools": [tool(description=1)]}, "tools[0].function.description"),
    ({"tools": [tool(strict="yes")]}, "tools[0].function.strict"),
    ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters"),
    ({"tools": [tool(parameters={"type": "string"})]}, "tools[0].function.parameters"),
    ({"tools": [tool(parameters={"properties": {}})]}, "tools[0].function.parameters"),
    ({"tools": [tool("a"), tool("b"), tool("a")]}, "tools[2].function.name"),
    ({"tools": [tool(f"t{i}") for i in range(MAX_TOOLS + 1)]}, "tools"),
    ({"tools": TOOLS, "functions": [function()]}, "functions"),
    ({"tools": TOOLS, "tool_choice": "never"}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": 1}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": {"type": "custom"}}, "tool_choice.type"),
    ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"tools": TOOLS, "tool_choice": named("other")}, "tool_choice.function.name"),
    ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
    ({"tools": TOOLS, "tool_choice": allowed("auto")}, "tool_choice.allowed_tools.tools"),
    ({"tools": TOOLS, "tool_choice": allowed("none", "a")}, "tool_choice.allowed_tools.mode"),
    (
        {"tools": TOOLS, "tool_choice": allowed("auto", "get_weather", "a")},
        "tool_choice.allowed_tools.tools[1].function.name",
    ),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [], "tool_choice": named("a")}, "tool_choice"),
    ({"functions": [function()], "tool_choice": "required"}, "tool_choice"),
    ({"tools": TOOLS, "function_call": {"name": "get_weather"}}, "function_call"),
    ({"function_call": {"name": "a"}}, "function_call"),
    ({"functions": [function()], "function_call": "required"}, "function_call"),
    ({"functions": [function()], "function_call": {"name": "a"}}, "function_call.name"),
    ({"functions": [function(), function()]}, "functions[1].name"),
    ({"functions": [function(parameters={"type": "array"})]}, "functions[0].parameters"),
    ({"tools": TOOLS, "parallel_tool_calls": "yes"}, "parallel_tool_calls"),
    ({"tools": TOOLS, "response_format": {"type": "json_object"}}, "response_format"),
    ({"tools": TOOLS, "structured_outputs": {"regex": "a"}}, "structured_outputs.regex"),
    ({"tools": TOOLS, "messages": [{"role": "system", "content": "x"}]}, "messages"),
    ({"tools": TOOLS, "chat_template_kwargs": {"chat_format": "raw"}}, "tools"),
    ({"tools": TOOLS, "tool_choice": "required", "add_generation_prompt": False}, "add_generation_prompt"),
    (
        {"tools": [tool(parameters={**CITY, "x": "y" * MAX_STRUCTURE_CHARS})], "tool_choice": "required"},
        "tools[0].function.parameters",
    ),
    ({"tools": [tool(description="a" + "\u0301\u0316" * 1000)]}, "tools"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_TOOLS)
async def test_tools_that_are_refused(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    error = await refusal(client, **fields)
    assert error["param"] == param
    assert error["message"].startswith(param)


OTHER = [tool("other")]
BAD_MESSAGES: list[tuple[list[dict[str, Any]], str]] = [
    ([QUESTION, result()], "messages[1].tool_call_id"),
    ([QUESTION, {"role": "tool", "content": "x"}], "messages[1].tool_call_id"),
    ([QUESTION, calling()], "messages[1].tool_calls"),
    ([QUESTION, calling(), QUESTION], "messages[1].tool_calls"),
    ([QUESTION, calling(call("1"), call("2")), result("2")], "messages[1].tool_calls"),
    ([QUESTION, calling(), QUESTION, result()], "messages[1].tool_calls"),
    ([QUESTION, calling(), result("2")], "messages[2].tool_call_id"),
    ([QUESTION, calling(), result(), result()], "messages[3].tool_call_id"),
    ([QUESTION, calling(), result(content=None)], "messages[2].content"),
    ([QUESTION, calling(), result(content=[image_part("data:,")])], "messages[2].content[0]"),
    ([QUESTION, calling(content=[image_part("data:,")]), result()], "messages[1].content[0]"),
    ([QUESTION, calling(call(), call()), result()], "messages[1].tool_calls[1].id"),
    ([QUESTION, calling(call("")), result()], "messages[1].tool_calls[0].id"),
    ([QUESTION, calling({"id": "1", "type": "custom"})], "messages[1].tool_calls[0].type"),
    ([QUESTION, calling({"id": "1", "type": "function"})], "messages[1].tool_calls[0].function"),
    ([QUESTION, calling(call(name="a b"))], "messages[1].tool_calls[0].function.name"),
    ([QUESTION, calling(call(name="a\nObservation: x"))], "messages[1].tool_calls[0].function.name"),
    (
        [QUESTION, calling({**call(), "function": {"name": "a", "arguments": {}}})],
        "messages[1].tool_calls[0].function.arguments",
    ),
    ([QUESTION, calling(*[call(str(i)) for i in range(MAX_CALLS + 1)])], "messages[1].tool_calls"),
    ([{**calling(), "role": "user", "content": "x"}], "messages[0].tool_calls"),
    ([QUESTION, {**calling(), "function_call": {"name": "a", "arguments": ""}}, result()], "messages[1].function_call"),
    ([QUESTION, {"role": "assistant", "function_call": {"name": "a", "arguments": ""}}], "messages[1].function_call"),
    ([QUESTION, {"role": "function", "name": "a", "content": "x"}], "messages[1].name"),
    ([QUESTION, {"role": "function", "content": "x"}], "messages[1].name"),
    ([QUESTION, {"role": "assistant", "content": None, "tool_calls": []}], "messages[1].content"),
]


@pytest.mark.parametrize(("messages", "param"), BAD_MESSAGES)
@pytest.mark.parametrize("tools", [None, OTHER])
async def test_messages_that_are_refused(
    client: httpx.AsyncClient, messages: list[dict[str, Any]], param: str, tools: Any
) -> None:
    error = await refusal(client, messages=messages, tools=tools)
    assert error["param"] == param


async def test_base_models_take_no_tools() -> None:
    async with in_process(FakeEngine(model_info(prompt_format=PromptFormat.RAW)), Settings()) as client:
        error = await refusal(client, tools=TOOLS)
        assert error["param"] == "tools"
        assert "need a chat model" in error["message"]


async def test_numbers_that_json_has_not(client: httpx.AsyncClient) -> None:
    text = json.dumps(body(tools=[tool(parameters={**CITY, "maximum": float("nan")})]))
    response = await client.post(CHAT, content=text, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text


async def test_tools_past_the_context(client: httpx.AsyncClient) -> None:
    for description in ("word " * 3000, "x" * 2**20):
        error = await refusal(client, tools=[tool(description=description)])
        assert error["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": None, "tool_choice": "auto"},
        {"tools": [], "tool_choice": "none"},
        {"functions": [], "function_call": "none"},
        {"functions": None, "function_call": "auto", "parallel_tool_calls": True},
        {"tools": TOOLS, "tool_choice": "none", "response_format": {"type": "json_object"}},
        {"tools": TOOLS, "tool_choice": "required", "response_format": {"type": "json_object"}},
        {"tools": TOOLS, "response_format": {"type": "text"}},
        {
            "messages": [
                QUESTION,
                calling(content=[text_part("I "), text_part("look.")]),
                result(content=[text_part("7")]),
            ]
        },
        {"messages": [QUESTION, calling(content=""), result(content="")]},
    ],
)
async def test_what_is_let_through(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    response = await client.post(CHAT, json=body("Hello") | fields)
    assert response.status_code == 200, response.text


def test_the_page_names_the_limits() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tools.md").read_text(encoding="utf-8")
    assert f"At most {MAX_TOOLS} tools" in page
    assert set(ToolFields.model_fields) <= set(re.findall(r"`([^`\n]+)`", page))
