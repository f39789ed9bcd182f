"""Adapters on the real engine, through what applications use: named, loaded, replaced and unloaded under way."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from safetensors.torch import load_file, save_file

from tests.parity.checkpoints import write_adapter
from tests.stack import MODEL, Stack

pytestmark = pytest.mark.slow


@pytest.fixture
def client(adapted: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=adapted.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def admin(adapted: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": "Bearer admin"}
    with httpx.Client(base_url=adapted.base_url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def loaded(adapted: Stack, admin: httpx.Client, lora_dir: Path) -> Iterator[Callable[..., httpx.Response]]:
    """Writes a random adapter into the server's folder and loads it as ``spare``, which is gone after the test."""

    def load(*, seed: int, folder: str = "spare", **fields: Any) -> httpx.Response:
        shutil.rmtree(lora_dir / folder, ignore_errors=True)
        write_adapter(lora_dir / folder, seed=seed)
        return admin.post("/load_lora_adapter", json={"lora_name": "spare", "lora_path": folder, **fields})

    yield load
    admin.post("/unload_lora_adapter", json={"lora_name": "spare"})
    adapted.live.call(until_loaded(adapted, 2))


async def until_loaded(stack: Stack, count: int) -> None:
    """Wait until the workers hold so many adapters."""
    assert stack.engine._llm is not None
    # The core offers nothing to wait on; asking it takes a round trip.
    while len(await stack.engine._llm.list_loras()) != count:  # noqa: ASYNC110
        await asyncio.sleep(0)


def say(client: openai.OpenAI, model: str, content: str = "Hello there, " * 20, salt: str = "none") -> str:
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": content}],
        temperature=0,
        max_tokens=12,
        extra_body={"cache_salt": salt},
    )
    assert answer.model == model
    return answer.choices[0].message.content or ""


def stream(client: openai.OpenAI) -> Iterator[str]:
    """A long greedy answer of ``spare``, piece by piece."""
    chunks = client.chat.completions.create(
        model="spare",
        messages=[{"role": "user", "content": "Hello"}],
        temperature=0,
        max_tokens=80,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    for chunk in chunks:
        yield chunk.choices[0].delta.content or ""


def test_openai_and_langchain(client: openai.OpenAI, adapted: Stack, adapters: Mapping[str, Path]) -> None:
    names = [MODEL, *adapters]
    assert [model.id for model in client.models.list()] == names
    texts = [say(client, name) for name in names]
    assert len(set(texts)) == 3
    for name, text in zip(names, texts, strict=True):
        model = ChatOpenAI(
            model=name,
            base_url=adapted.base_url,
            api_key=SecretStr("any"),
            temperature=0,
            max_tokens=12,
            max_retries=0,
        )
        assert model.invoke("Hello there, " * 20).content == text
        assert "".join(str(chunk.content) for chunk in model.stream("Hello there, " * 20)) == text


def test_responses_go_on_by_name(client: openai.OpenAI, adapters: Mapping[str, Path]) -> None:
    first = client.responses.create(model="every", input="Hello", max_output_tokens=8, temperature=0)
    again = client.responses.create(
        model=MODEL, input="And?", previous_response_id=first.id, max_output_tokens=8, temperature=0
    )
    assert (first.model, again.model) == ("every", MODEL)


def test_other_weights_under_the_same_name(client: openai.OpenAI, loaded: Callable[..., httpx.Response]) -> None:
    """Neither the weights nor the cached prefixes of the one before are used, from the same folder or after a while."""
    assert loaded(seed=1).status_code == 200
    first = say(client, "spare")
    assert say(client, "spare") == first
    assert loaded(seed=2, load_inplace=True).status_code == 200
    second = say(client, "spare")
    assert second != first
    assert loaded(seed=1, load_inplace=True).status_code == 200
    assert say(client, "spare") == first


def test_replaced_and_unloaded_under_way(
    adapted: Stack, client: openai.OpenAI, admin: httpx.Client, loaded: Callable[..., httpx.Response]
) -> None:
    """What runs goes on with the weights that it began with, beside a new adapter of its name."""
    loaded(seed=1)
    alone = "".join(stream(client))
    first = stream(client)
    begun = [next(first)]
    assert loaded(seed=2, load_inplace=True).status_code == 200
    second = stream(client)
    begun.append(next(second))
    assert admin.post("/unload_lora_adapter", json={"lora_name": "spare"}).status_code == 200
    with pytest.raises(openai.NotFoundError):
        say(client, "spare")
    texts = [start + "".join(rest) for start, rest in zip(begun, (first, second), strict=True)]
    assert texts[0] == alone != texts[1]
    adapted.live.call(until_loaded(adapted, 2))


def test_an_adapter_outlives_its_folder(
    client: openai.OpenAI, lora_dir: Path, loaded: Callable[..., httpx.Response], adapters: Mapping[str, Path]
) -> None:
    assert loaded(seed=3).status_code == 200
    text = say(client, "spare")
    shutil.rmtree(lora_dir / "spare")
    for name in adapters:
        say(client, name)
    assert say(client, "spare") == text


def test_the_largest_numbers_that_are_taken_spoil_nobodys_answers(
    client: openai.OpenAI, admin: httpx.Client, lora_dir: Path, loaded: Callable[..., httpx.Response]
) -> None:
    before = say(client, MODEL, "Good evening, " * 20)
    assert loaded(seed=4).status_code == 200
    path = lora_dir / "spare" / "adapter_model.safetensors"
    # Its scaling is 2.
    save_file({name: tensor.sign() * 500 for name, tensor in load_file(path).items()}, path)
    loading = {"lora_name": "spare", "lora_path": "spare", "load_inplace": True}
    assert admin.post("/load_lora_adapter", json=loading).status_code == 200
    for number in range(4):
        say(client, "spare", f"{number} is a number, " * 40)
    assert admin.post("/unload_lora_adapter", json={"lora_name": "spare"}).status_code == 200
    # Answered from memory that the adapter's requests had.
    assert say(client, MODEL, "Good evening, " * 20, salt="another") == before


def test_refused_by_name(adapted: Stack, client: openai.OpenAI, lora_dir: Path, admin: httpx.Client) -> None:
    write_adapter(lora_dir / "wide", rank=16)
    answer = admin.post("/load_lora_adapter", json={"lora_name": "wide", "lora_path": "wide"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_adapter")
    assert "rank 16 is above --max-lora-rank, which is 8" in answer.json()["error"]["message"]
    assert "wide" not in adapted.engine.adapters
    # The workers have heard nothing of it.
    adapted.live.call(until_loaded(adapted, 2))
    assert say(client, "every")


def test_in_batches_and_metrics(client: openai.OpenAI, admin: httpx.Client) -> None:
    chat = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0}
    lines = [
        {"custom_id": model, "method": "POST", "url": "/v1/chat/completions", "body": chat | {"model": model}}
        for model in (MODEL, "every", "gone")
    ]
    file = client.files.create(file=("f", "\n".join(map(json.dumps, lines)).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    while batch.status != "completed":
        batch = client.batches.retrieve(batch.id)
    assert batch.request_counts is not None
    assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 1)
    metrics = httpx.get(str(admin.base_url).replace("/v1/", "/metrics"), headers=admin.headers).text
    assert 'model="every"' in metrics
    assert 'model="gone"' not in metrics
    # It would have a series for each set of adapters that ever ran together.
    assert "vllm:lora_requests_info{" not in metrics
