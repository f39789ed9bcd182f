"""What chat completions refuse, and that the next request is answered."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from qwenvl.api import Settings
from qwenvl.api.chat.schemas import MAX_MESSAGES, MAX_PARTS
from qwenvl.api.wire import MAX_LOGIT_BIASES, MAX_SEED, MAX_STOP_TOKENS, MIN_SEED
from tests.api.chatting import CHAT, ask, error_of, image_part, refusal, text_part
from tests.api.live import data_url, in_process
from tests.fake_engine import FakeEngine, model_info

USER = {"role": "user", "content": "x"}

BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages"),
    ({"messages": "Hello"}, "messages"),
    ({"messages": ["Hello"]}, "messages[0]"),
    ({"messages": None}, "messages"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [USER, {"role": "bob", "content": "x"}]}, "messages[1].role"),
    ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
    ({"messages": [USER, {"role": "function", "content": "x"}]}, "messages[1].name"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ({"messages": [{"role": "system", "content": ""}, USER]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [text_part("")]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": {"type": "text"}}]}, "messages[0].content"),
    ({"messages": [USER, {"role": "assistant", "content": None}]}, "messages[1].content"),
    ({"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{}]}]}, "messages[1].tool_calls[0].id"),
    ({"messages": [USER] * (MAX_MESSAGES + 1)}, "messages"),
    ({"messages": [USER, {"role": "user", "content": [text_part("x")] * (MAX_PARTS + 1)}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": "a" + "\u0301\u0316" * 30_000}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
    ({"messages": [{"role": "system", "content": [image_part("x")]}]}, "messages[0].content[0]"),
    (
        {"messages": [{"role": "user", "content": [text_part("x"), {"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[1].image_url.url",
    ),
    ({"model": "gpt-4"}, "model"),
    ({"model": None}, "model"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": "0.5"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"top_k": 1.5}, "top_k"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
    ({"stop": ""}, "stop"),
    ({"stop": ["a", ""]}, "stop[1]"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": 3}, "stop"),
    ({"seed": MAX_SEED + 1}, "seed"),
    ({"seed": MIN_SEED - 1}, "seed"),
    ({"seed": 0.5}, "seed"),
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"n": 129}, "n"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"frequency_penalty": -2.1}, "frequency_penalty"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"logprobs": 1}, "logprobs"),
    ({"top_logprobs": 1}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"chat_template_kwargs": {"chat_format": "llama"}}, "chat_template_kwargs.chat_format"),
    ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs.enable_thinking"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"response_format": {"type": "yaml"}}, "response_format.type"),
    ({"structured_outputs": {}}, "structured_outputs"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1"),
    ({"logit_bias": {"1": "2"}}, "logit_bias.1"),
    ({"logit_bias": {"768": 1}}, "logit_bias"),
    ({"logit_bias": {"-1": 1}}, "logit_bias"),
    ({"logit_bias": {"one": 1}}, "logit_bias"),
    ({"logit_bias": {"9" * 5000: 1}}, "logit_bias"),
    ({"logit_bias": {"\u0661": 1}}, "logit_bias"),
    ({"logit_bias": {str(i): 1 for i in range(MAX_LOGIT_BIASES + 1)}}, "logit_bias"),
    ({"min_p": 1.1}, "min_p"),
    ({"min_p": -0.1}, "min_p"),
    ({"min_tokens": -1}, "min_tokens"),
    ({"min_tokens": 9, "max_tokens": 8}, "min_tokens"),
    ({"stop": ["a"] * 1000}, "stop"),
    ({"stop_token_ids": [768]}, "stop_token_ids"),
    ({"stop_token_ids": ["a"]}, "stop_token_ids[0]"),
    ({"stop_token_ids": [1] * (MAX_STOP_TOKENS + 1)}, "stop_token_ids"),
    ({"allowed_token_ids": [0, 10**9]}, "allowed_token_ids"),
    ({"allowed_token_ids": [-1]}, "allowed_token_ids[0]"),
    ({"bad_words": ["a", ""]}, "bad_words[1]"),
    ({"bad_words": "a"}, "bad_words"),
    ({"bad_words": ["a", "a" * 129]}, "bad_words[1]"),
    ({"bad_words": ["a" + "\u0301" * 400]}, "bad_words[0]"),
    ({"bad_words": ["1" * 100] * 10}, "bad_words"),
    ({"user": "a" * 513}, "user"),
    ({"safety_identifier": "a" * 513}, "safety_identifier"),
    ({"prompt_cache_key": "a" * 513}, "prompt_cache_key"),
    ({"prompt_logprobs": -1}, "prompt_logprobs"),
    ({"prompt_logprobs": 21}, "prompt_logprobs"),
    ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
    ({"n": 16384}, "n"),
    ({"add_generation_prompt": True, "continue_final_message": True}, "continue_final_message"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"priority": -1}, "priority"),
    ({"cache_salt": ""}, "cache_salt"),
    ({"request_id": "a b"}, "request_id"),
    ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
    ({"prediction": {"type": "content"}}, "prediction.content"),
    ({"prediction": {"type": "other", "content": "x"}}, "prediction.type"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
    ({"metadata": {"k" * 65: ""}}, "metadata." + "k" * 40 + "..."),
    ({"service_tier": "best"}, "service_tier"),
    ({"user": 1}, "user"),
    ({"store": True}, "store"),
    ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"truncate_prompt_tokens": 10}, "truncate_prompt_tokens"),
    ({"use_beam_search": True}, "use_beam_search"),
    ({"chat_template": "{{ x }}"}, "chat_template"),
    ({"guided_json": {}}, "guided_json"),
    ({"an_unknown_field": {"x": 1}}, "an_unknown_field"),
    ({"x" * 1000: 1}, "x" * 64 + "..."),
    ({"modalities": ["text", "audio"]}, "modalities"),
]


@pytest.mark.parametrize(
    ("fields", "param"), BAD_FIELDS, ids=[f"{param}-{i}" for i, (_, param) in enumerate(BAD_FIELDS)]
)
async def test_bad_fields_are_named(
    client: httpx.AsyncClient, engine: FakeEngine, fields: dict[str, Any], param: str
) -> None:
    error = await refusal(client, **fields)
    assert error["param"] == param
    assert param in error["message"] or error["code"] in ("model_not_found", "context_length_exceeded")
    assert error["type"] == "invalid_request_error"
    assert len(engine.requests) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True},
        {"response_format": {"type": "text"}, "logit_bias": {}, "modalities": ["text"]},
        {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"prediction": {"type": "content", "content": "x"}, "reasoning_effort": "low", "verbosity": "high"},
        {"prediction": {"type": "content", "content": [text_part("x")]}, "prompt_cache_key": "a"},
        {"safety_identifier": "x", "prompt_cache_options": {"mode": "implicit"}, "prompt_cache_retention": "24h"},
        {"stop_token_ids": [], "allowed_token_ids": [], "bad_words": [], "min_tokens": 0, "min_p": 0},
        {"messages": [{**USER, "an_unknown_field": 1}]},
        {"temperature": None, "stop": None, "n": None, "stream": None, "tools": None},
        {"top_k": -1, "stop": []},
    ],
)
async def test_what_asks_for_nothing_is_accepted(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    await ask(client, **fields)


BAD_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"Hello"',
    b"[" * 24_000,
    b"[" * 110_000,
    b'{"x":' * 20_000,
    b'{"model": "tiny", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b', "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "tiny", "x": [' + b"0," * 600_000 + b'0], "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "tiny", "logit_bias": {"1": NaN}, "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "tiny", "min_p": -Infinity, "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "tiny", "temperature": 1e999, "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "tiny", "temperature": NaN, "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "tiny", "top_p": Infinity, "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "tiny", "messages": [{"role": "user", "content": "a\\ud800b"}]}',
    b'{"model": "tiny", "messages": [{"role": "user", "content": "\xff"}]}',
    b'{"model": "tiny", "seed": ' + b"9" * 5000 + b', "messages": [{"role": "user", "content": "x"}]}',
]


@pytest.mark.parametrize("content", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_bad_bodies(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.post(CHAT, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"
    await ask(client)


async def test_other_content_types(client: httpx.AsyncClient) -> None:
    response = await client.post(CHAT, data={"model": "tiny"})
    assert response.status_code == 415
    assert "application/json" in error_of(response)["message"]


async def test_prompt_past_the_context(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    for content in ("word " * 3000, "x" * 2**20):
        error = await refusal(client, messages=[{"role": "user", "content": content}])
        assert error["code"] == "context_length_exceeded"
        assert "maximum context length is 2048 tokens" in error["message"]
    error = await refusal(client, max_tokens=2040)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "max_tokens")
    assert f"{28 + 2040} tokens (28 in the messages, 2040 in the completion)" in error["message"]
    assert (await ask(client, max_tokens=2020))["usage"]["completion_tokens"]


async def test_too_many_images(client: httpx.AsyncClient, images: Path) -> None:
    part = image_part(data_url((images / "d.png").read_bytes()))
    error = await refusal(client, messages=[{"role": "user", "content": [part] * 5}])
    assert error["param"] == "messages[0].content[4].image_url.url"
    assert "at most 4 images" in error["message"]


async def test_text_models_read_no_images(images: Path) -> None:
    async with in_process(FakeEngine(model_info(tokens_per_image=0)), Settings()) as client:
        part = image_part(data_url((images / "d.png").read_bytes()))
        error = await refusal(client, messages=[{"role": "user", "content": [part]}])
        assert "reads no images" in error["message"]


REFUSED_URLS = [
    "file:///etc/passwd",
    "/etc/passwd",
    "etc/passwd",
    "ftp://example.com/a.png",
    "http://127.0.0.1:1/a.png",
    "http://[::1]/a.png",
    "http://[::ffff:127.0.0.1]/a.png",
    "http://[64:ff9b::7f00:1]/a.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://0/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://localhost/a.png",
    "http://",
    "http://a b/",
    "http://" + "a" * 300 + "/",
    "https://user:pw@127.0.0.1/",
    "data:image/png,abc",
    "data:image/png;base64,***",
    "data:image/png;base64,",
    "data:image/png;base64,AAAA",
    "",
]


@pytest.mark.parametrize("url", REFUSED_URLS, ids=range(len(REFUSED_URLS)))
async def test_urls_that_are_refused(url: str) -> None:
    async with in_process(FakeEngine(), Settings()) as client:
        error = await refusal(client, messages=[{"role": "user", "content": [text_part("x"), image_part(url)]}])
    assert error["param"] == "messages[0].content[1].image_url.url"
    assert "127.0.0.1" not in error["message"]
    assert "refused" not in error["message"].lower()
