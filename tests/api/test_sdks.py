"""The libraries people use, against a live server."""

import json
from pathlib import Path

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, SecretStr

from qwenvl.api import Settings
from tests.api.live import LiveServer, data_url
from tests.fake_engine import FakeEngine

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


def sdk(live: LiveServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0)


def langchain(live: LiveServer) -> ChatOpenAI:
    return ChatOpenAI(
        model="tiny",
        base_url=f"{live.url}/v1",
        api_key=SecretStr("any"),
        max_retries=0,
        temperature=0,
        stream_usage=True,
    )


def test_openai_sync(live: LiveServer) -> None:
    with sdk(live) as client:
        answer = client.chat.completions.create(model="tiny", messages=HELLO, logprobs=True, top_logprobs=2)
        assert answer.choices[0].message.content
        assert answer.choices[0].logprobs is not None
        streamed = client.chat.completions.create(
            model="tiny", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(streamed)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == (
            answer.choices[0].message.content
        )
        assert chunks[-1].usage == answer.usage
        assert [model.id for model in client.models.list()] == ["tiny", "alias/tiny"]
        assert client.models.retrieve("alias/tiny").id == "alias/tiny"


async def test_openai_async(live: LiveServer) -> None:
    async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0) as client:
        answer = await client.chat.completions.create(model="tiny", messages=HELLO, n=2, temperature=1, seed=1)
        assert len(answer.choices) == 2
        stream = await client.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "stop"


def test_openai_image(live: LiveServer, engine: FakeEngine, images: Path) -> None:
    url = data_url((images / "a.png").read_bytes())
    with sdk(live) as client:
        client.chat.completions.create(
            model="tiny",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
                        {"type": "text", "text": "What is this?"},
                    ],
                }
            ],
        )
    assert len(engine.requests[-1].images) == 1


def test_openai_errors(live: LiveServer) -> None:
    with sdk(live) as client:
        with pytest.raises(openai.BadRequestError) as bad:
            client.chat.completions.create(model="tiny", messages=HELLO, temperature=3)
        assert (bad.value.param, bad.value.type) == ("temperature", "invalid_request_error")
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="other", messages=HELLO)
        assert missing.value.code == "model_not_found"


def test_openai_keys(engine: FakeEngine) -> None:
    settings = Settings.model_validate({"api_keys": ["any"]})
    with LiveServer(engine, settings) as live, sdk(live) as client:
        assert client.models.list().data
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="other").models.list()


def test_openai_closing_a_stream_aborts(live: LiveServer, engine: FakeEngine) -> None:
    engine.hold(after=2)
    with sdk(live) as client:
        stream = client.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        next(iter(stream))
        stream.close()
        live.call(engine.until(lambda: len(engine.aborted) == 1))


def test_openai_error_in_the_middle_of_a_stream(live: LiveServer, engine: FakeEngine) -> None:
    engine.hold(after=2)
    with sdk(live) as client:
        stream = iter(client.chat.completions.create(model="tiny", messages=HELLO, stream=True))
        next(stream)
        live.call(engine.die())
        with pytest.raises(openai.APIError, match="engine has stopped"):
            list(stream)


def test_langchain(live: LiveServer) -> None:
    model = langchain(live)
    whole = model.invoke([SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage("Hello."), HumanMessage("Bye")])
    assert whole.content
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["input_tokens"] > 0
    chunks = list(model.stream("Hello"))
    assert "".join(str(chunk.content) for chunk in chunks) == model.invoke("Hello").content
    assert any(chunk.usage_metadata for chunk in chunks)
    assert len(model.batch(["One", "Two", "Three"])) == 3


async def test_langchain_async(live: LiveServer) -> None:
    model = langchain(live)
    assert (await model.ainvoke("Hello")).content
    assert [chunk async for chunk in model.astream("Hello")]


def test_langchain_image(live: LiveServer, engine: FakeEngine, images: Path) -> None:
    url = data_url((images / "b.jpg").read_bytes(), "image/jpeg")
    content: list[str | dict[str, object]] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    langchain(live).invoke([HumanMessage(content)])
    assert len(engine.requests[-1].images) == 1


def test_streams_are_plain_events(live: LiveServer) -> None:
    with sdk(live) as client:
        raw = client.chat.completions.with_raw_response.create(model="tiny", messages=HELLO, stream=True)
        assert raw.headers["content-type"].startswith("text/event-stream")
        lines = raw.http_response.read().decode().splitlines()
    events = [line.removeprefix("data: ") for line in lines if line]
    assert events.pop() == "[DONE]"
    assert all(json.loads(event)["object"] == "chat.completion.chunk" for event in events)


async def test_openai_completions(live: LiveServer) -> None:
    async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0) as client:
        answer = await client.completions.create(model="tiny", prompt=["One", "Two"], n=2, best_of=2, temperature=1)
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        scored = await client.completions.create(model="tiny", prompt="One", echo=True, max_tokens=0, logprobs=1)
        assert scored.choices[0].text == "One"
        assert scored.choices[0].logprobs is not None
        assert len(scored.choices[0].logprobs.tokens or ()) == scored.usage.prompt_tokens  # type: ignore[union-attr]
        stream = await client.completions.create(model="tiny", prompt="One", stream=True)
        chunks = [chunk async for chunk in stream]
        whole = await client.completions.create(model="tiny", prompt="One")
        assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
        with pytest.raises(openai.BadRequestError) as refused:
            await client.completions.create(model="tiny", prompt="One", suffix="x")
        assert refused.value.param == "suffix"


class Person(BaseModel):
    name: str
    age: int


def test_openai_parses_structured_output(live: LiveServer) -> None:
    with sdk(live) as client:
        answer = client.chat.completions.parse(model="tiny", messages=HELLO, response_format=Person)
        assert isinstance(answer.choices[0].message.parsed, Person)
        with client.chat.completions.stream(model="tiny", messages=HELLO, response_format=Person) as stream:
            assert stream.get_final_completion().choices[0].message.parsed == answer.choices[0].message.parsed


def test_langchain_structured_output(live: LiveServer) -> None:
    for method in ("json_schema", "json_mode"):
        chain = langchain(live).with_structured_output(
            Person if method == "json_schema" else None, method=method, include_raw=True
        )
        answer = chain.invoke("Who?")
        assert isinstance(answer, dict)
        assert answer["parsing_error"] is None


def test_langchain_completions(live: LiveServer) -> None:
    with httpx.Client() as http:
        model = OpenAI(
            model="tiny",
            base_url=f"{live.url}/v1",
            api_key=SecretStr("any"),
            max_retries=0,
            temperature=0,
            http_client=http,
        )
        whole = model.invoke("Once upon a time")
        assert whole
        assert "".join(model.stream("Once upon a time")) == whole
        assert len(model.generate(["One", "Two"]).generations) == 2
