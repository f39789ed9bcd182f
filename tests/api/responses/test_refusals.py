from typing import Any

import httpx
import pytest

from qwenvl.api.responses.schemas import MAX_ITEMS
from tests.api.live import data_url
from tests.api.responses.answering import image_part, message, refusal, respond, text_part

LOGPROBS = "message.output_text.logprobs"

PICTURE = data_url(b"not a picture")

LARGE_TOOLS = [{"type": "function", "name": name, "description": "x" * 1_200_000} for name in ("f", "g")]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"moderation": {"model": "omni"}}, "moderation"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"use_beam_search": True}, "use_beam_search"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "x"}]}, "tools[1].type"),
        ({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "mcp"}}, "tool_choice.type"),
        ({"input": [message([{"type": "input_image", "file_id": "file_1"}])]}, "input[0].content[0].file_id"),
    ],
)
async def test_what_is_not_supported_is_named(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    error = await refusal(client, **fields)
    assert (error["param"], error["code"]) == (param, "unsupported_parameter")
    assert param in error["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"background": False},
        {"conversation": None},
        {"context_management": []},
        {"n": 1},
        {"tools": []},
        {"include": ["reasoning.encrypted_content"]},
        {"reasoning": {"effort": "high", "summary": "auto"}},
        {"service_tier": "auto"},
        {"image": {"context_compression": "disabled"}},
        {"input": [{"role": "user", "content": [image_part(PICTURE), text_part("x")]}], "max_output_tokens": None},
    ],
)
async def test_what_asks_for_nothing_is_let_through(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    if "input" in fields:
        fields["input"][0]["content"].pop(0)
    content = fields.pop("input", "Hello")
    await respond(client, content, **fields)


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (None, "input"),
        (5, "input"),
        ("", "input"),
        ([], "input"),
        ([{"type": "reasoning"}], "input"),
        ([5], "input[0]"),
        ([{}], "input[0].role"),
        ([{"role": "user"}], "input[0].content"),
        ([{"role": "user", "content": ""}], "input[0].content"),
        ([{"role": "user", "content": []}], "input[0].content"),
        ([{"role": "user", "content": [text_part("")]}], "input[0].content"),
        ([{"role": "tool", "content": "x"}], "input[0].role"),
        ([{"type": "web_search_call", "id": "ws_1"}], "input[0].type"),
        ([{"type": "item_reference", "id": "msg_none"}], "input[0].id"),
        ([{"type": "item_reference"}], "input[0].id"),
        ([message([{"type": "text", "text": "x"}])], "input[0].content[0].type"),
        ([message([{"type": "input_file", "file_id": "f"}])], "input[0].content[0].type"),
        ([message([{"type": "input_text"}])], "input[0].content[0].text"),
        ([message([{"type": "input_image"}])], "input[0].content[0].image_url"),
        ([message([image_part("http://x/y.png")], "system")], "input[0].content[0]"),
        ([message("x"), message([text_part("x")], "assistant")], "input[1].content[0].type"),
        ([message([text_part("x"), image_part(PICTURE)])], "input[0].content[1].image_url"),
        ([message([text_part("x"), image_part("file:///etc/passwd")])], "input[0].content[1].image_url"),
        ([message("x"), message([image_part(PICTURE)] * 5)], "input[1].content[4].image_url"),
        ([{"type": "function_call", "name": "f", "arguments": "{}"}], "input[0].call_id"),
        ([{"type": "function_call_output", "call_id": "c"}], "input[0].output"),
        ([message("x")] * (MAX_ITEMS + 1), "input"),
        ([message("a" + "\u0301" * 1000)], "input[0].content"),
    ],
)
async def test_input_that_cannot_be(client: httpx.AsyncClient, content: Any, param: str) -> None:
    error = await refusal(client, content=content)
    assert error["param"] == param
    assert "messages[" not in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 100_000}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"include": [LOGPROBS, "nonsense"]}, "include[1]"),
        ({"truncation": "middle"}, "truncation"),
        ({"stream_options": {}}, "stream_options"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"metadata": {"a": 5}}, "metadata.a"),
        ({"user": "x" * 513}, "user"),
        ({"text": {"format": {"type": "json_object", "description": "x" * 100_001}}}, "text.format.description"),
        ({"tools": LARGE_TOOLS, "tool_choice": "none"}, "tools[1]"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_object"}}, "structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": 5}}}}, "text.format.schema"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": {"type": "string"}}]}, "tools[0].parameters"),
        (
            {"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "g"}},
            "tool_choice.name",
        ),
        ({"model": "other"}, "model"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
async def test_parameters_that_cannot_be(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    error = await refusal(client, **fields)
    assert error["param"] == param


async def test_a_conversation_that_does_not_fit(client: httpx.AsyncClient) -> None:
    error = await refusal(client, content="word " * 3000)
    assert (error["param"], error["code"]) == ("input", "context_length_exceeded")


async def test_a_call_that_waits_for_its_result(client: httpx.AsyncClient) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    error = await refusal(client, content=[message("x"), call])
    assert error["param"] == "input[1]"
    assert "followed by function_call_output items" in error["message"]
    assert "c1" in error["message"]
    output = {"type": "function_call_output", "call_id": "c2", "output": "7"}
    error = await refusal(client, content=[message("x"), call, output])
    assert error["param"] == "input[2].call_id"
