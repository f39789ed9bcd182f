import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from qwenvl.engine import Delta, GenerationRequest, Step, Usage
from tests.api.responses.answering import RESPONSES, events, message, respond
from tests.fake_engine import FakeEngine

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}
CLOCK = {"type": "function", "name": "get_time"}


class Saying(FakeEngine):
    """Says a text of the test's choice, three characters at a time."""

    text = ""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Step]:
        self.requests.append(request)
        pieces = [self.text[i : i + 3] for i in range(0, len(self.text), 3)]
        for i, piece in enumerate(pieces):
            reason = "stop" if i == len(pieces) - 1 else None
            yield Step([Delta(0, piece, (i,), finish_reason=reason)], Usage(10, i + 1))  # type: ignore[arg-type]


@pytest.fixture
def engine() -> FakeEngine:
    return Saying()


CALL = ' I should look it up.\nAction: get_weather\nAction Input: {"city": "Oslo"}'


def say(engine: FakeEngine, text: str) -> None:
    assert isinstance(engine, Saying)
    engine.text = text


async def test_a_call(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    say(engine, f"Thought:{CALL}")
    response = await respond(client, "Weather in Oslo?", tools=[WEATHER, CLOCK])
    thought, call = response["output"]
    assert thought["content"][0]["text"] == "I should look it up."
    assert (call["type"], call["name"], call["status"]) == ("function_call", "get_weather", "completed")
    assert json.loads(call["arguments"]) == {"city": "Oslo"}
    assert call["id"].startswith("fc_")
    assert call["call_id"].startswith("call_")
    assert response["tools"] == [WEATHER, CLOCK]
    assert "\nObservation:" in engine.requests[-1].sampling.stop


async def test_events_of_a_call(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    say(engine, f"Thought:{CALL}")
    streamed = await events(client, "Weather in Oslo?", tools=[WEATHER])
    names = [event["type"].removeprefix("response.") for event in streamed]
    calling = names[names.index("output_item.done") + 1 :]
    assert list(dict.fromkeys(calling)) == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    added, *deltas, done, item_done, completed = streamed[-len(calling) :]
    assert added["item"] == {**item_done["item"], "arguments": "", "status": "in_progress"}
    assert "".join(event["delta"] for event in deltas) == done["arguments"] == item_done["item"]["arguments"]
    assert {event["output_index"] for event in (added, *deltas, done, item_done)} == {1}
    assert completed["response"]["output"][1] == item_done["item"]


async def test_an_answer_without_a_call(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    say(engine, "Thought: I now know the final answer\nFinal Answer: It is 7 degrees.")
    (item,) = (await respond(client, "Weather?", tools=[WEATHER]))["output"]
    assert item["content"][0]["text"] == "It is 7 degrees."


async def test_the_result_of_a_call(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    say(engine, f"Thought:{CALL}")
    first = await respond(client, "Weather in Oslo?", tools=[WEATHER])
    thought, call = first["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "7 degrees"}
    say(engine, " I now know the final answer.\nFinal Answer: 7 degrees.")
    second = await respond(client, [result], previous_response_id=first["id"], tools=[WEATHER])
    assert second["output"][0]["content"][0]["text"] == "7 degrees."
    written_out = [
        message("Weather in Oslo?"),
        thought,
        call,
        {**result, "output": [{"type": "input_text", "text": "7 degrees"}]},
    ]
    await respond(client, written_out, tools=[WEATHER])
    assert engine.requests[-1].token_ids == engine.requests[-2].token_ids
    listed = await client.get(f"{RESPONSES}/{second['id']}/input_items", params={"order": "asc"})
    kinds = [item["type"] for item in listed.json()["data"]]
    assert kinds == ["message", "message", "function_call", "function_call_output"]
    assert listed.json()["data"][3]["call_id"] == call["call_id"]


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "get_weather"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_weather"}]},
    ],
)
async def test_a_forced_call(client: httpx.AsyncClient, engine: FakeEngine, choice: dict[str, Any]) -> None:
    say(engine, '{"city": "Oslo"}')
    response = await respond(client, "Weather in Oslo?", tools=[WEATHER, CLOCK], tool_choice=choice)
    (call,) = response["output"]
    assert json.loads(call["arguments"]) == {"city": "Oslo"}
    assert response["tool_choice"] == choice
    structure = engine.requests[-1].sampling.structure
    assert structure is not None
    assert structure.param == "tools[0].parameters"


async def test_no_tools_chosen(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    say(engine, f"Thought:{CALL}")
    (item,) = (await respond(client, "Weather?", tools=[WEATHER], tool_choice="none"))["output"]
    assert item["content"][0]["text"] == f"Thought:{CALL}"
