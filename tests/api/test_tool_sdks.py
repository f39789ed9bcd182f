"""Tools as the libraries that people use send and read them, against a live server."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolUnionParam
from pydantic import BaseModel, SecretStr

from qwenvl.api import Settings
from tests.api.live import LiveServer
from tests.fake_engine import FakeEngine
from tests.scripted_engine import ScriptedEngine

CALL = 'Thought: I look.\nAction: get_weather\nAction Input: {"city": "Oslo"}'
ANSWER = " I now know the final answer.\nFinal Answer: It is 7 degrees."


class Street(BaseModel):
    name: str
    number: int


class Address(BaseModel):
    """Where somebody lives."""

    city: str
    street: Street


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"7 degrees in {city}"


@contextmanager
def live(engine: FakeEngine) -> Iterator[LiveServer]:
    with LiveServer(engine, Settings()) as server:
        yield server


@contextmanager
def sdk(engine: FakeEngine) -> Iterator[openai.OpenAI]:
    with live(engine) as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@contextmanager
def langchain(engine: FakeEngine) -> Iterator[ChatOpenAI]:
    with live(engine) as server:
        yield ChatOpenAI(
            model="tiny",
            base_url=f"{server.url}/v1",
            api_key=SecretStr("any"),
            max_retries=0,
            max_completion_tokens=200,
        )


TOOLS: list[ChatCompletionToolUnionParam] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tells the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def test_openai_round_trip() -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How is Oslo?"}]
    with sdk(ScriptedEngine(CALL, ANSWER)) as client:
        first = client.chat.completions.create(model="tiny", messages=messages, tools=TOOLS)
        message = first.choices[0].message
        assert first.choices[0].finish_reason == "tool_calls"
        assert message.tool_calls is not None
        (call,) = message.tool_calls
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"city": "Oslo"}
        messages.append(message.to_dict())  # type: ignore[arg-type]
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "7 degrees"})
        second = client.chat.completions.create(model="tiny", messages=messages, tools=TOOLS)
        assert second.choices[0].message.content == "It is 7 degrees."


def test_openai_stream_helper() -> None:
    with (
        sdk(ScriptedEngine(CALL)) as client,
        client.chat.completions.stream(
            model="tiny", messages=[{"role": "user", "content": "How is Oslo?"}], tools=TOOLS
        ) as stream,
    ):
        kinds = {event.type for event in stream}
        completion = stream.get_final_completion()
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done", "content.delta"} <= kinds
    (choice,) = completion.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "I look.")
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].function.arguments == '{"city": "Oslo"}'


def test_openai_parses_a_strict_tool_that_is_forced() -> None:
    with sdk(FakeEngine()) as client:
        completion = client.chat.completions.parse(
            model="tiny",
            messages=[{"role": "user", "content": "Where?"}],
            tools=[openai.pydantic_function_tool(Address)],
            tool_choice="required",
        )
    calls = completion.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.parsed_arguments == Address(city="text", street=Street(name="text", number=0))


def test_langchain_agent_loop() -> None:
    with langchain(ScriptedEngine(CALL, ANSWER)) as chat:
        model = chat.bind_tools([get_weather])
        question = HumanMessage("How is Oslo?")
        asked = model.invoke([question])
        assert isinstance(asked, AIMessage)
        (call,) = asked.tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Oslo"})
        told = get_weather.invoke(call)
        assert isinstance(told, ToolMessage)
        assert model.invoke([question, asked, told]).content == "It is 7 degrees."


def test_langchain_streams_calls() -> None:
    with langchain(ScriptedEngine(CALL)) as chat:
        whole: Any = None
        for chunk in chat.bind_tools([get_weather]).stream("How is Oslo?"):
            whole = chunk if whole is None else whole + chunk
    assert whole.tool_calls[0]["args"] == {"city": "Oslo"}
    assert whole.content == "I look."


@pytest.mark.parametrize("choice", ["any", "get_weather"])
def test_langchain_forced_calls(choice: str) -> None:
    with langchain(FakeEngine()) as chat:
        answer = chat.bind_tools([get_weather, Address], tool_choice=choice).invoke("Hello")
    assert isinstance(answer, AIMessage)
    assert answer.tool_calls[0]["args"] == {"city": "text"}


def _strict(chat: ChatOpenAI) -> Any:
    return chat.with_structured_output(Address, method="function_calling", strict=True)


@pytest.mark.parametrize(
    "structured",
    [
        lambda chat: chat.with_structured_output(Address, method="function_calling"),
        lambda chat: chat.with_structured_output(Address, method="json_schema"),
        _strict,
    ],
)
def test_langchain_structured_output(structured: Callable[[ChatOpenAI], Any]) -> None:
    with langchain(FakeEngine()) as chat:
        assert structured(chat).invoke("Where?") == Address(city="text", street=Street(name="text", number=0))
