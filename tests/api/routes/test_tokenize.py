import threading
from typing import Any

import httpx
import pytest

from qwenvl.api import Settings
from qwenvl.chat import Vocabulary
from tests.api.chatting import ask, error_of, image_part, text_part
from tests.api.live import in_process
from tests.fake_engine import FakeEngine, model_info

MESSAGES = [{"role": "user", "content": "Hello"}]
PICTURE = [{"role": "user", "content": [image_part("https://example.invalid/a.png"), text_part("What?")]}]


async def tokenize(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/tokenize", json=fields)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def detokenize(client: httpx.AsyncClient, tokens: list[int]) -> str:
    response = await client.post("/detokenize", json={"model": "tiny", "tokens": tokens})
    assert response.status_code == 200, response.text
    return str(response.json()["prompt"])


@pytest.mark.parametrize("text", ["Hello", "", "<|im_end|><img></img>", "<ref>é好</ref>", "x" * 10_000])
async def test_texts_there_and_back(client: httpx.AsyncClient, engine: FakeEngine, text: str) -> None:
    answer = await tokenize(client, prompt=text, return_token_strs=True)
    assert answer["tokens"] == engine.info.vocabulary.encode_text(text)
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert answer["max_model_len"] == engine.info.max_model_len
    assert await detokenize(client, answer["tokens"]) == text


async def test_messages_are_counted_as_a_chat_counts_them(client: httpx.AsyncClient) -> None:
    answer = await tokenize(client, messages=MESSAGES, model="alias/tiny")
    chat = await ask(client, messages=MESSAGES, return_token_ids=True)
    assert answer["tokens"] == chat["prompt_token_ids"]
    assert answer["count"] == chat["usage"]["prompt_tokens"]
    assert answer["token_strs"] is None
    closed = await tokenize(client, messages=MESSAGES, add_generation_prompt=False)
    assert answer["tokens"][: closed["count"]] == closed["tokens"] != answer["tokens"]
    raw = await tokenize(client, messages=MESSAGES, chat_template_kwargs={"chat_format": "raw"})
    assert raw["tokens"] == (await tokenize(client, prompt="Hello"))["tokens"]


async def test_tools_are_counted(client: httpx.AsyncClient) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
    answer = await tokenize(client, messages=MESSAGES, tools=tools)
    chat = await ask(client, messages=MESSAGES, tools=tools, return_token_ids=True)
    assert answer["tokens"] == chat["prompt_token_ids"]


async def test_images_count_in_full_and_are_not_fetched(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    answer = await tokenize(client, messages=PICTURE)
    assert answer["tokens"].count(engine.info.vocabulary.image_pad) == engine.info.tokens_per_image
    assert "<imgpad>" in await detokenize(client, answer["tokens"])


async def test_more_than_the_context_is_counted(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    text = "word " * 2000
    assert (await tokenize(client, prompt=text))["count"] > engine.info.max_model_len
    assert (await tokenize(client, messages=[{"role": "user", "content": text}]))["count"] > engine.info.max_model_len


async def test_tokenising_is_off_the_event_loop(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    for name in ("encode_text", "decode"):
        original = getattr(Vocabulary, name)

        def watched(*args: Any, original: Any = original) -> Any:
            threads.append(threading.current_thread())
            return original(*args)

        monkeypatch.setattr(Vocabulary, name, watched)
    await detokenize(client, (await tokenize(client, prompt="Hello"))["tokens"])
    assert len(threads) == 2
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "x", "messages": MESSAGES}, "prompt"),
        ("/tokenize", {"prompt": ["x"]}, "prompt"),
        ("/tokenize", {"prompt": "x" * 2**20}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": [{"role": "bob", "content": "x"}]}, "messages[0].role"),
        ("/tokenize", {"messages": MESSAGES, "continue_final_message": True}, "continue_final_message"),
        ("/tokenize", {"prompt": "x", "chat_template": "x"}, "chat_template"),
        ("/tokenize", {"prompt": "x", "other": 1}, "other"),
        ("/tokenize", {"prompt": "x", "model": "other"}, "model"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "x"}, "tokens"),
        ("/detokenize", {"tokens": [1, -1]}, "tokens[1]"),
        ("/detokenize", {"tokens": [1, 768]}, "tokens[1]"),
        ("/detokenize", {"tokens": [2**80]}, "tokens[0]"),
        ("/detokenize", {"tokens": [1], "model": "other"}, "model"),
    ],
)
async def test_bad_fields_are_named(client: httpx.AsyncClient, path: str, fields: dict[str, Any], param: str) -> None:
    response = await client.post(path, json=fields)
    assert response.status_code in (400, 404)
    assert error_of(response)["param"] == param


async def test_models_without_images() -> None:
    async with in_process(FakeEngine(model_info(tokens_per_image=0)), Settings()) as client:
        response = await client.post("/tokenize", json={"messages": PICTURE})
        assert error_of(response)["code"] == "images_not_supported"


async def test_both_need_a_key(engine: FakeEngine) -> None:
    async with in_process(engine, Settings.model_validate({"api_keys": ["key"]})) as client:
        for path in ("/tokenize", "/detokenize"):
            assert (await client.post(path, json={"prompt": "x", "tokens": [1]})).status_code == 401
