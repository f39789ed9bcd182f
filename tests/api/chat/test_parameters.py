"""Parameters of chat completions beyond the plainest, from the wire to the engine and back."""

import json
from typing import Any

import httpx
import pytest
from openai.types.chat import ChatCompletionChunk

from qwenvl.api.context import INTERACTIVE
from qwenvl.engine import Structure
from tests.api.chatting import CHAT, ask, body, chunks_of, refusal, text_part
from tests.fake_engine import FakeEngine

PREFILLED = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, two,"}]
OPEN = {"messages": PREFILLED, "continue_final_message": True, "add_generation_prompt": False}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


async def content_of(client: httpx.AsyncClient, **fields: Any) -> str:
    return str((await ask(client, **fields))["choices"][0]["message"]["content"])


async def test_sampling_reaches_the_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await ask(
        client,
        min_p=0.25,
        min_tokens=2,
        logit_bias={"5": -100, "767": 1.5},
        stop_token_ids=[3, 4],
        include_stop_str_in_output=True,
        allowed_token_ids=[5, 6],
        bad_words=["never"],
        prompt_logprobs=3,
        skip_special_tokens=False,
        cache_salt="pepper",
        priority=7,
    )
    request = engine.requests[-1]
    sampling = request.sampling
    assert (sampling.min_p, sampling.min_tokens, sampling.include_stop) == (0.25, 2, True)
    assert sampling.logit_bias == {5: -100, 767: 1.5}
    assert (sampling.stop_token_ids, sampling.allowed_token_ids) == ((3, 4), (5, 6))
    assert (sampling.bad_words, sampling.prompt_logprobs, sampling.skip_control) == (("never",), 3, False)
    assert (request.cache_salt, request.priority) == ("pepper", INTERACTIVE + 7)


async def test_defaults_ask_for_nothing(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await ask(client)
    request = engine.requests[-1]
    sampling = request.sampling
    assert (sampling.min_p, sampling.min_tokens, sampling.include_stop, sampling.skip_control) == (0, 0, False, True)
    assert (sampling.logit_bias, sampling.stop_token_ids, sampling.allowed_token_ids, sampling.bad_words) == (
        {},
        (),
        (),
        (),
    )
    assert (sampling.structure, sampling.prompt_logprobs) == (None, None)
    assert (request.cache_salt, request.priority) == (None, INTERACTIVE)


async def test_a_bias_chooses(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    (letter,) = engine.info.vocabulary.encode_text("x")
    assert await content_of(client, logit_bias={str(letter): 100}, max_tokens=3) == "xxx"
    assert await content_of(client, allowed_token_ids=[letter], max_tokens=3) == "xxx"


async def test_stops_across_tokens_in_streams(client: httpx.AsyncClient) -> None:
    whole = await content_of(client)
    stop = whole[2:6]
    chunks = chunks_of(await client.post(CHAT, json=body(stream=True, stop=stop, include_stop_str_in_output=True)))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole[: whole.index(stop) + len(stop)]
    assert chunks[-1]["choices"][0]["stop_reason"] == stop


@pytest.mark.parametrize(
    ("fields", "structure"),
    [
        ({"response_format": {"type": "json_object"}}, Structure("json_object", "", "response_format")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
            Structure("json_schema", json.dumps(SCHEMA), "response_format.json_schema.schema"),
        ),
        ({"structured_outputs": {"regex": "a"}}, Structure("regex", "a", "structured_outputs.regex")),
    ],
)
async def test_structures_reach_the_engine(
    client: httpx.AsyncClient, engine: FakeEngine, fields: dict[str, Any], structure: Structure
) -> None:
    whole = await content_of(client, **fields)
    assert engine.requests[-1].sampling.structure == structure
    chunks = chunks_of(await client.post(CHAT, json=body(stream=True, **fields)))
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole
    if structure.kind != "regex":
        json.loads(whole)


async def test_a_final_message_is_continued(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await ask(client, **OPEN)
    assert engine.info.vocabulary.decode(engine.requests[-1].token_ids).endswith(
        "<|im_start|>user\nCount.<|im_end|>\n<|im_start|>assistant\nOne, two,"
    )
    implied = await ask(client, messages=PREFILLED, continue_final_message=True)
    assert implied["usage"]["prompt_tokens"] == len(engine.requests[-1].token_ids)
    assert engine.requests[-1].token_ids == engine.requests[-2].token_ids


async def test_no_generation_prompt(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await ask(client, messages=PREFILLED, add_generation_prompt=False)
    assert engine.info.vocabulary.decode(engine.requests[-1].token_ids).endswith("One, two,<|im_end|>")


@pytest.mark.parametrize("last", ["One, two,", [text_part("One, "), text_part("two,")]])
async def test_echo_repeats_an_assistants_message(client: httpx.AsyncClient, last: Any) -> None:
    fields = {**OPEN, "messages": [PREFILLED[0], {"role": "assistant", "content": last}]}
    plain = await content_of(client, **fields)
    echoed = await ask(client, echo=True, n=2, **fields)
    assert [choice["message"]["content"] for choice in echoed["choices"]] == ["One, two," + plain] * 2
    chunks = chunks_of(await client.post(CHAT, json=body(stream=True, echo=True, **fields)))
    assert chunks[1]["choices"][0]["delta"]["content"] == "One, two,"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "One, two," + plain


async def test_echo_repeats_no_users_message(client: httpx.AsyncClient) -> None:
    assert await content_of(client, echo=True) == await content_of(client)


async def test_raw_prompts_have_no_last_turn(client: httpx.AsyncClient) -> None:
    raw = {"chat_template_kwargs": {"chat_format": "raw"}}
    assert (await refusal(client, **raw, continue_final_message=True))["param"] == "continue_final_message"
    await ask(client, **raw, add_generation_prompt=False)


async def test_prompt_logprobs_as_vllm_has_them(client: httpx.AsyncClient) -> None:
    answer = await ask(client, prompt_logprobs=1, return_token_ids=True)
    first, *rest = answer["prompt_logprobs"]
    assert first is None
    for token_id, entries in zip(answer["prompt_token_ids"][1:], rest, strict=True):
        assert str(token_id) in entries
        assert [entry["rank"] for entry in entries.values()].count(1) == 1
    assert "prompt_logprobs" not in await ask(client)


async def test_tokens_named_by_their_ids(client: httpx.AsyncClient) -> None:
    answer = await ask(
        client, logprobs=True, top_logprobs=1, return_tokens_as_token_ids=True, return_token_ids=True, max_tokens=3
    )
    (choice,) = answer["choices"]
    positions = choice["logprobs"]["content"]
    assert [position["token"] for position in positions] == [f"token_id:{i}" for i in choice["token_ids"]]
    assert all(position["top_logprobs"][0]["token"].startswith("token_id:") for position in positions)


async def test_service_tier_is_answered(client: httpx.AsyncClient) -> None:
    assert (await ask(client, service_tier="flex"))["service_tier"] == "default"
    assert "service_tier" not in await ask(client)
    for chunk in chunks_of(await client.post(CHAT, json=body(stream=True, service_tier="auto"))):
        assert ChatCompletionChunk.model_validate(chunk, strict=True).service_tier == "default"


async def test_a_clients_id_is_the_answers_and_not_the_engines(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    for _ in range(2):
        assert (await ask(client, request_id="mine"))["id"] == "chatcmpl-mine"
    assert len({request.request_id for request in engine.requests}) == 2


async def test_what_is_ignored_changes_nothing(client: httpx.AsyncClient) -> None:
    plain = await content_of(client)
    ignored = {
        "user": "me",
        "metadata": {"a": "b"},
        "prediction": {"type": "content", "content": "x"},
        "reasoning_effort": "high",
        "stream_interval": 8,
        "session_id": "s",
        "add_special_tokens": True,
    }
    assert await content_of(client, **ignored) == plain
