"""Completions, token counts and sampling parameters against the real engine."""

import base64
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.stack import MODEL, Stack

pytestmark = pytest.mark.slow


def picture(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_prompts_are_scored_alike_alone_and_together(client: openai.OpenAI) -> None:
    def scores(prompt: Any) -> list[list[float | None]]:
        options: dict[str, Any] = {"echo": True, "max_tokens": 1, "temperature": 0, "logprobs": 1}
        answer = client.completions.create(model=MODEL, prompt=prompt, **options)
        return [choice.logprobs.token_logprobs for choice in answer.choices]

    prompts = ["Once upon a time", "好的, é", "a"]
    together = scores(prompts)
    for prompt, score in zip(prompts, together, strict=True):
        assert score[0] is None
        assert scores(prompt)[0][1:] == pytest.approx(score[1:], abs=1e-4)


def test_what_was_generated_is_scored_as_it_was(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": MODEL, "temperature": 0, "logprobs": 1}
    extra = {"return_token_ids": True, "ignore_eos": True}
    answer = client.completions.create(prompt="Hello", max_tokens=4, extra_body=extra, **options)
    (choice,) = answer.choices
    ids = [*choice.prompt_token_ids, *choice.token_ids]
    again = client.completions.create(prompt=ids, max_tokens=0, echo=True, **options)
    assert again.choices[0].logprobs.token_logprobs[-4:] == pytest.approx(choice.logprobs.token_logprobs, abs=1e-4)
    assert again.usage.completion_tokens == 0
    assert again.usage.prompt_tokens == len(ids)


def test_an_image_in_a_prompt(client: openai.OpenAI, images: Path) -> None:
    prompt = "<img></img>Generate the caption in English with grounding:"
    one, two = (
        client.completions.create(
            model=MODEL,
            prompt=prompt,
            echo=True,
            max_tokens=2,
            logprobs=1,
            extra_body={"images": [picture(images / name)]},
        )
        for name in ("d.png", "e.png")
    )
    assert one.choices[0].text.startswith(prompt)
    assert one.usage.prompt_tokens > 256
    assert one.choices[0].logprobs.tokens[:2] == ["<img>", "</img>"]
    assert len(one.choices[0].logprobs.tokens) == one.usage.prompt_tokens - 256 + 2
    assert one.choices[0].logprobs.token_logprobs[2:] != two.choices[0].logprobs.token_logprobs[2:]


def test_a_chats_prompt_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Hi"}],
        max_tokens=1,
        n=2,
        temperature=1,
        extra_body={"prompt_logprobs": 0, "return_token_ids": True},
    )
    reported = answer.prompt_logprobs
    assert [None, *(next(iter(entries)) for entries in reported[1:])] == [None, *map(str, answer.prompt_token_ids[1:])]


def test_parameters_of_vllm(client: openai.OpenAI) -> None:
    def content(**extra: Any) -> str:
        answer = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Hi"}],
            temperature=0,
            max_tokens=4,
            extra_body={"ignore_eos": True, **extra},
        )
        return str(answer.choices[0].message.content)

    (letter,) = token_ids(client, "x")
    assert content(logit_bias={str(letter): 100}) == "xxxx"
    assert content(allowed_token_ids=[letter]) == "xxxx"
    assert content(allowed_token_ids=[letter], stop="xx") == ""
    assert content(allowed_token_ids=[letter], stop="xx", include_stop_str_in_output=True) == "xx"
    assert content(logit_bias={str(letter): 100}, stop_token_ids=[letter]) == ""
    assert "x" not in content(logit_bias={str(letter): 100}, bad_words=["x"])
    assert content(structured_outputs={"choice": ["yes"]}, ignore_eos=False) == "yes"
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "One"}]
    continued = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        max_tokens=2,
        extra_body={"continue_final_message": True, "echo": True},
    )
    assert continued.choices[0].message.content.startswith("One")


def token_ids(client: openai.OpenAI, text: str) -> list[int]:
    answer = client.post("/../tokenize", cast_to=httpx.Response, body={"prompt": text})
    ids: list[int] = answer.json()["tokens"]
    return ids


async def test_tokenize_as_the_engine_counts(stack: Stack) -> None:
    messages = [{"role": "user", "content": "Hi <|im_end|>"}]
    async with httpx.AsyncClient(base_url=stack.live.url) as http:
        counted = (await http.post("/tokenize", json={"messages": messages})).json()
        body = {"model": MODEL, "messages": messages, "max_tokens": 1}
        answer = (await http.post("/v1/chat/completions", json=body)).json()
        assert counted["count"] == answer["usage"]["prompt_tokens"]
        text = (await http.post("/detokenize", json={"tokens": counted["tokens"]})).json()["prompt"]
    assert "Hi <|im_end|><|im_end|>" in text
