import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwenvl.api import Settings
from qwenvl.api.completions.schemas import DEFAULT_MAX_TOKENS
from qwenvl.api.merging import MAX_AT_A_TIME
from qwenvl.engine import Structure
from tests.api.chatting import chunks_of, error_of
from tests.api.completing import COMPLETIONS, body, check_object, complete
from tests.api.live import data_url, in_process
from tests.fake_engine import FakeEngine, model_info

LONG = {"ignore_eos": True, "max_tokens": 9}


async def test_answer_is_openais_object(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    answer = await complete(client)
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    (choice,) = answer["choices"]
    assert choice["text"]
    assert choice["logprobs"] is None
    assert "token_ids" not in choice
    assert "prompt_logprobs" not in choice
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    (request,) = engine.requests
    assert list(request.token_ids) == engine.info.vocabulary.encode_text("Hello")
    assert request.sampling.max_tokens == DEFAULT_MAX_TOKENS


async def test_prompts_in_every_form(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    ids = engine.info.vocabulary.encode_text("Hello")
    whole = (await complete(client))["choices"][0]["text"]
    for prompt in (ids, [ids], ["Hello"]):
        assert (await complete(client, prompt))["choices"][0]["text"] == whole
    several = await complete(client, ["Hello", "Bye", "Hello"])
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2]
    texts = [choice["text"] for choice in several["choices"]]
    assert texts[0] == texts[2] == whole != texts[1]
    assert [choice["text"] for choice in (await complete(client, [ids, ids]))["choices"]] == [whole, whole]


async def test_control_tokens_in_text_stay_text(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    vocabulary = engine.info.vocabulary
    for text in ("<|im_end|>", "<img></img>", "<|endoftext|><imgpad>", "a<img>b"):
        await complete(client, text)
        token_ids = engine.requests[-1].token_ids
        assert not set(token_ids) & vocabulary.control_ids
        assert vocabulary.decode(token_ids) == text


async def test_token_ids_may_be_control_tokens(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    vocabulary = engine.info.vocabulary
    prompt = [vocabulary.im_start, *vocabulary.encode_text("user\nHi"), vocabulary.im_end]
    await complete(client, prompt)
    assert list(engine.requests[-1].token_ids) == prompt


async def test_usage_is_of_all_prompts(client: httpx.AsyncClient) -> None:
    prompts = ["Hello", "Good bye to you"]
    alone = [(await complete(client, prompt, **LONG))["usage"] for prompt in prompts]
    together = (await complete(client, prompts, **LONG))["usage"]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert together[name] == sum(usage[name] for usage in alone)


async def test_choices_of_a_prompt_stand_together(client: httpx.AsyncClient) -> None:
    options = {"n": 2, "best_of": 2, "temperature": 1.5, "seed": 3, **LONG}
    alone = [(await complete(client, prompt, **options))["choices"] for prompt in ("One", "Two")]
    together = (await complete(client, ["One", "Two"], **options))["choices"]
    assert [choice["index"] for choice in together] == [0, 1, 2, 3]
    assert [choice["text"] for choice in together] == [choice["text"] for choices in alone for choice in choices]


async def test_only_so_many_prompts_at_a_time(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.hold()
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(client.post(COMPLETIONS, json=body([f"{i}" for i in range(MAX_AT_A_TIME + 5)])))
        await engine.until(lambda: engine.in_flight == MAX_AT_A_TIME)
        assert len(engine.requests) == MAX_AT_A_TIME
        engine.release()
    assert len(asking.result().json()["choices"]) == MAX_AT_A_TIME + 5
    assert len({request.request_id for request in engine.requests}) == MAX_AT_A_TIME + 5


async def test_the_first_error_ends_all_prompts(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.hold()
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(client.post(COMPLETIONS, json=body(["One", "Two", "Three"])))
        await engine.until(lambda: engine.in_flight == 3)
        await engine.abort(engine.requests[1].request_id)
        engine.release()
    assert asking.result().status_code == 500
    assert engine.in_flight == 0
    refused = await client.post(COMPLETIONS, json=body(["One", "refuse me"]))
    assert error_of(refused)["code"] == "refused"
    assert engine.in_flight == 0


async def test_leaving_ends_all_prompts(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.hold()
    asking = asyncio.create_task(client.post(COMPLETIONS, json=body(["One", "Two"])))
    await engine.until(lambda: engine.in_flight == 2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(engine.aborted) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 2, "temperature": 1.0},
        {"stop": ["e"]},
        {"echo": True},
        {"max_tokens": 0, "echo": True},
        {"prompt": ["One", "Two"]},
        {"return_tokens_as_token_ids": True},
    ],
)
async def test_stream_adds_up_to_the_answer(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    options = {"logprobs": 1, "return_token_ids": True, "seed": 1, **fields}
    whole = await complete(client, **options)
    asked = body(stream=True, stream_options={"include_usage": True}, **{"prompt": "Hello", **options})
    *chunks, last = chunks_of(await client.post(COMPLETIONS, json=asked))
    for chunk in chunks:
        check_object(chunk, finished=False)
    assert len({(chunk["id"], chunk["created"], chunk["object"]) for chunk in [*chunks, last]}) == 1
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    for wanted in whole["choices"]:
        parts = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == wanted["index"]]
        assert "".join(part["text"] for part in parts) == wanted["text"]
        assert parts[0]["prompt_token_ids"] == wanted["prompt_token_ids"]
        assert [token_id for part in parts for token_id in part["token_ids"]] == wanted["token_ids"]
        assert parts[-1]["finish_reason"] == wanted["finish_reason"]
        assert all(part["finish_reason"] is None for part in parts[:-1])
        for name, entries in (wanted["logprobs"] or {}).items():
            assert [entry for part in parts if part["logprobs"] for entry in part["logprobs"][name]] == entries


async def test_stream_without_usage(client: httpx.AsyncClient) -> None:
    chunks = chunks_of(await client.post(COMPLETIONS, json=body(stream=True)))
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


async def test_errors_before_the_first_token_are_plain(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    response = await client.post(COMPLETIONS, json=body(["Hello", "refuse me"], stream=True))
    assert response.status_code == 400
    assert engine.in_flight == 0


async def test_sampling_reaches_the_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await complete(
        client, min_p=0.1, logit_bias={"5": -3}, structured_outputs={"choice": ["a"]}, cache_salt="s", priority=3
    )
    request = engine.requests[-1]
    assert request.sampling.min_p == 0.1
    assert request.sampling.logit_bias == {5: -3}
    assert request.sampling.structure == Structure("choice", ("a",), "structured_outputs.choice")
    assert (request.cache_salt, request.priority) == ("s", 3)


async def test_a_clients_id_is_the_answers_and_not_the_engines(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    for _ in range(2):
        assert (await complete(client, request_id="mine"))["id"] == "cmpl-mine"
    assert len({request.request_id for request in engine.requests}) == 2


async def test_echo(client: httpx.AsyncClient) -> None:
    plain = (await complete(client, "Hello"))["choices"][0]["text"]
    assert (await complete(client, "Hello", echo=True))["choices"][0]["text"] == "Hello" + plain
    scored = await complete(client, "Hello", echo=True, max_tokens=0)
    assert scored["choices"][0]["text"] == "Hello"
    assert scored["choices"][0]["finish_reason"] == "length"
    assert scored["usage"]["completion_tokens"] == 0


async def test_images_stand_for_their_placeholders(client: httpx.AsyncClient, engine: FakeEngine, images: Path) -> None:
    one, two = (data_url((images / name).read_bytes()) for name in ("a.png", "e.png"))
    vocabulary = engine.info.vocabulary
    pair = [vocabulary.image_start, vocabulary.image_end]
    await complete(client, "<img></img>Describe <img>:", images=[one, {"url": two}])
    request = engine.requests[-1]
    assert list(request.token_ids) == [
        *pair,
        *vocabulary.encode_text("Describe "),
        *pair,
        *vocabulary.encode_text(":"),
    ]
    pictures = [image.tobytes() for image in request.images]
    assert len(set(pictures)) == 2

    answer = await complete(client, ["<img></img>a", "<img></img>b"], images=[one, two], return_token_ids=True)
    assert [[image.tobytes() for image in request.images] for request in engine.requests[-2:]] == [
        [picture] for picture in pictures
    ]
    prompt = answer["choices"][0]["prompt_token_ids"]
    assert prompt.count(vocabulary.image_pad) == engine.info.tokens_per_image
    assert answer["usage"]["prompt_tokens"] == 2 * len(prompt)

    await complete(client, [*pair, *vocabulary.encode_text("a")], images=[one])
    assert [image.tobytes() for image in engine.requests[-1].images] == pictures[:1]


async def test_echoed_images_are_their_placeholders(client: httpx.AsyncClient, images: Path) -> None:
    url = data_url((images / "a.png").read_bytes())
    answer = await complete(client, "<img>A", images=[url], echo=True, max_tokens=0, logprobs=2)
    (choice,) = answer["choices"]
    assert choice["text"] == "<img></img>A"
    assert choice["logprobs"]["tokens"] == ["<img>", "</img>", "A"]
    assert choice["logprobs"]["text_offset"] == [0, 5, 11]
    assert choice["logprobs"]["token_logprobs"][0] is None
    assert all(len(top) >= 2 for top in choice["logprobs"]["top_logprobs"][1:])


async def test_prompt_logprobs_as_vllm_has_them(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    answer = await complete(client, "Hello there", prompt_logprobs=2, max_tokens=1)
    (choice,) = answer["choices"]
    ids = engine.info.vocabulary.encode_text("Hello there")
    first, *rest = choice["prompt_logprobs"]
    assert first is None
    assert len(rest) == len(ids) - 1
    for token_id, entries in zip(ids[1:], rest, strict=True):
        assert set(entries[str(token_id)]) == {"logprob", "rank", "decoded_token"}
        assert {1, 2} <= {entry["rank"] for entry in entries.values()}
        assert 2 <= len(entries) <= 3


BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": {}}, "prompt"),
    ({"prompt": [None]}, "prompt"),
    ({"prompt": ["a", ""]}, "prompt[1]"),
    ({"prompt": ["a", 1]}, "prompt[1]"),
    ({"prompt": [1, "a"]}, "prompt[1]"),
    ({"prompt": [[1], []]}, "prompt[1]"),
    ({"prompt": [[1], [768]]}, "prompt[1][0]"),
    ({"prompt": [1, -1]}, "prompt[1]"),
    ({"prompt": [1, 2**70]}, "prompt[1]"),
    ({"prompt": [1.5]}, "prompt"),
    ({"prompt": ["x"] * 257}, "prompt"),
    ({"prompt": ["x"] * 129, "n": 2}, "prompt"),
    ({"prompt": "word " * 3000}, "prompt"),
    ({"prompt": [1] * 3000}, "prompt"),
    ({"prompt": "a" + "\u0301" * 300}, "prompt"),
    ({"prompt": "a", "images": ["data:,"]}, "images"),
    ({"prompt": "<img></img><img>", "images": ["data:,"]}, "images"),
    ({"prompt": "<img>x.png</img>", "images": ["data:,"]}, "prompt"),
    ({"prompt": "<img>", "images": [3]}, "images[0]"),
    ({"prompt": "<img>", "images": [{}]}, "images[0].url"),
    ({"prompt": "<img>", "images": ["data:,"]}, "images[0]"),
    ({"prompt": "<img>" * 5, "images": ["data:,"] * 5}, "images[4]"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 10**6}, "max_tokens"),
    ({"logprobs": True}, "logprobs"),
    ({"logprobs": 21}, "logprobs"),
    ({"best_of": 2}, "best_of"),
    ({"n": 17}, "n"),
    ({"suffix": "x"}, "suffix"),
    ({"prompt_embeds": "x"}, "prompt_embeds"),
    ({"messages": []}, "messages"),
    ({"model": "gpt-4"}, "model"),
    ({"stream_options": {}}, "stream_options"),
    ({"prompt_logprobs": 0, "stream": True}, "prompt_logprobs"),
    ({"response_format": {"type": "yaml"}}, "response_format.type"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[f"{param}-{i}" for i, (_, param) in enumerate(BAD)])
async def test_bad_fields_are_named(
    client: httpx.AsyncClient, engine: FakeEngine, fields: dict[str, Any], param: str
) -> None:
    response = await client.post(COMPLETIONS, json={**body(), **fields})
    assert response.status_code in (400, 404), response.text
    assert error_of(response)["param"] == param
    assert engine.requests == []
    await complete(client)


async def test_token_ids_of_images_must_match(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    v = engine.info.vocabulary
    for prompt, param in (
        ([v.image_pad], "prompt[0]"),
        ([1, v.image_start], "prompt[1]"),
        ([1, v.image_end], "prompt[1]"),
        ([v.image_start, v.image_pad, v.image_end], "prompt[0]"),
        ([[v.image_start, 1, v.image_end]], "prompt[0][0]"),
        ([v.image_start, v.image_end], "images"),
    ):
        response = await client.post(COMPLETIONS, json=body(prompt))
        assert error_of(response)["param"] == param


async def test_models_without_images() -> None:
    engine = FakeEngine(model_info(tokens_per_image=0))
    async with in_process(engine, Settings()) as client:
        await complete(client, "<img></img>")
        response = await client.post(COMPLETIONS, json=body("<img>", images=["data:,"]))
        assert error_of(response)["code"] == "images_not_supported"
