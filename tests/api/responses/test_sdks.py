"""The libraries people use, against a live server."""

from pathlib import Path

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from openai.types.responses import ResponseInputParam, ResponseOutputMessage
from pydantic import BaseModel, SecretStr

from tests.api.live import LiveServer, data_url
from tests.fake_engine import FakeEngine


class City(BaseModel):
    name: str
    people: int


def sdk(live: LiveServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0)


def langchain(live: LiveServer) -> ChatOpenAI:
    return ChatOpenAI(
        model="tiny",
        base_url=f"{live.url}/v1",
        api_key=SecretStr("any"),
        max_retries=0,
        temperature=0,
        use_responses_api=True,
    )


def test_openai_create(live: LiveServer) -> None:
    with sdk(live) as client:
        first = client.responses.create(model="tiny", input="Hello", instructions="Be brief.")
        assert first.output_text
        second = client.responses.create(model="tiny", input="And now?", previous_response_id=first.id)
        assert second.previous_response_id == first.id
        assert client.responses.retrieve(first.id).output_text == first.output_text
        listed = list(client.responses.input_items.list(second.id, order="asc", limit=1))
        assert len(listed) == 3
        client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)
        with pytest.raises(openai.BadRequestError):
            client.responses.cancel(second.id)


def test_openai_stream(live: LiveServer) -> None:
    with sdk(live) as client:
        whole = client.responses.create(model="tiny", input="Hello")
        with client.responses.stream(model="tiny", input="Hello") as stream:
            texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert "".join(texts) == final.output_text == whole.output_text
        assert final.usage == whole.usage
        plain = client.responses.create(model="tiny", input="Hello", stream=True)
        assert [event.type for event in plain][-1] == "response.completed"


async def test_openai_async(live: LiveServer) -> None:
    async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0) as client:
        response = await client.responses.create(model="tiny", input="Hello")
        async with client.responses.stream(model="tiny", input="Hello") as stream:
            assert (await stream.get_final_response()).output_text == response.output_text


def test_openai_parse(live: LiveServer) -> None:
    with sdk(live) as client:
        parsed = client.responses.parse(model="tiny", input="A city", text_format=City)
        assert parsed.output_parsed == City(name="text", people=0)
        with client.responses.stream(model="tiny", input="A city", text_format=City) as stream:
            assert stream.get_final_response().output_parsed == parsed.output_parsed


def test_openai_image(live: LiveServer, engine: FakeEngine, images: Path) -> None:
    url = data_url((images / "a.png").read_bytes())
    question: ResponseInputParam = [
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": url, "detail": "high"},
                {"type": "input_text", "text": "What is this?"},
            ],
        }
    ]
    with sdk(live) as client:
        first = client.responses.create(model="tiny", input=question)
        answer = first.output[0]
        assert isinstance(answer, ResponseOutputMessage)
        # As clients without stored responses do it: the whole conversation again, the answer as it came.
        again: ResponseInputParam = [*question, answer.model_dump(), {"role": "user", "content": "Sure?"}]  # type: ignore[list-item]
        client.responses.create(model="tiny", input=again)
        client.responses.create(model="tiny", input="Sure?", previous_response_id=first.id)
    assert [len(request.images) for request in engine.requests] == [1, 1, 1]
    assert engine.requests[1].token_ids == engine.requests[2].token_ids


def test_openai_closing_a_stream_aborts(live: LiveServer, engine: FakeEngine) -> None:
    engine.hold(after=2)
    with sdk(live) as client:
        stream = client.responses.create(model="tiny", input="Hello", stream=True)
        next(iter(stream))
        stream.close()
        live.call(engine.until(lambda: len(engine.aborted) == 1))


def test_openai_error_in_the_middle_of_a_stream(live: LiveServer, engine: FakeEngine) -> None:
    engine.hold(after=2)
    with sdk(live) as client:
        stream = iter(client.responses.create(model="tiny", input="Hello", stream=True))
        next(stream)
        live.call(engine.die())
        with pytest.raises(openai.APIError, match="engine has stopped"):
            list(stream)


def test_langchain(live: LiveServer, engine: FakeEngine) -> None:
    model = langchain(live)
    first = model.invoke([SystemMessage("Be brief."), HumanMessage("Hi")])
    assert first.text
    assert first.usage_metadata is not None
    assert first.usage_metadata["input_tokens"] > 0
    model.invoke([SystemMessage("Be brief."), HumanMessage("Hi"), first, HumanMessage("Bye")])
    model.invoke([SystemMessage("Be brief."), HumanMessage("Hi"), AIMessage(first.text), HumanMessage("Bye")])
    assert engine.requests[-1].token_ids == engine.requests[-2].token_ids
    streamed = list(model.stream("Hello"))
    assert "".join(chunk.text for chunk in streamed) == model.invoke("Hello").text
    assert any(chunk.usage_metadata for chunk in streamed)


def test_langchain_goes_on_by_id(live: LiveServer, engine: FakeEngine) -> None:
    by_id = langchain(live).model_copy(update={"use_previous_response_id": True})
    history: list[HumanMessage | AIMessage] = [HumanMessage("Hi")]
    first = by_id.invoke(history)
    by_id.invoke([*history, first, HumanMessage("Bye")])
    langchain(live).invoke([*history, first, HumanMessage("Bye")])
    assert engine.requests[-1].token_ids == engine.requests[-2].token_ids


def test_langchain_image(live: LiveServer, engine: FakeEngine, images: Path) -> None:
    url = data_url((images / "b.jpg").read_bytes(), "image/jpeg")
    content: list[str | dict[str, object]] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    langchain(live).invoke([HumanMessage(content)])
    assert len(engine.requests[-1].images) == 1


async def test_langchain_structured(live: LiveServer) -> None:
    model = langchain(live).with_structured_output(City, method="json_schema")
    assert await model.ainvoke("A city") == City(name="text", people=0)
