import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types.responses import ResponseItemList

from qwenvl.api import Settings
from tests.api.chatting import error_of
from tests.api.live import data_url, in_process
from tests.api.responses.answering import (
    RESPONSES,
    body,
    events,
    image_part,
    message,
    refusal,
    respond,
    text_of,
    text_part,
)
from tests.fake_engine import FakeEngine


async def items(client: httpx.AsyncClient, response_id: str, **query: Any) -> dict[str, Any]:
    response = await client.get(f"{RESPONSES}/{response_id}/input_items", params=query)
    assert response.status_code == 200, response.text
    ResponseItemList.model_validate(response.json(), strict=True)
    return dict(response.json())


async def test_retrieve(client: httpx.AsyncClient) -> None:
    made = await respond(client, metadata={"a": "b"})
    found = await client.get(f"{RESPONSES}/{made['id']}", params={"include": "message.output_text.logprobs"})
    assert found.json() == made
    assert found.headers["content-type"] == "application/json"


async def test_streamed_responses_are_stored_too(client: httpx.AsyncClient) -> None:
    *_, last = await events(client)
    assert (await client.get(f"{RESPONSES}/{last['response']['id']}")).json() == last["response"]


async def test_what_is_cut_short_is_stored(client: httpx.AsyncClient) -> None:
    made = await respond(client, max_output_tokens=1)
    assert (await client.get(f"{RESPONSES}/{made['id']}")).json() == made


async def test_delete(client: httpx.AsyncClient) -> None:
    first = await respond(client, "My name is Ann.")
    second = await respond(client, "What is my name?", previous_response_id=first["id"])
    deleted = await client.delete(f"{RESPONSES}/{first['id']}")
    assert deleted.json() == {"id": first["id"], "object": "response", "deleted": True}
    for gone in (await client.get(f"{RESPONSES}/{first['id']}"), await client.delete(f"{RESPONSES}/{first['id']}")):
        assert gone.status_code == 404
        assert first["id"] in error_of(gone)["message"]
    assert (await items(client, second["id"]))["data"]


async def test_cancel_is_for_the_background(client: httpx.AsyncClient) -> None:
    made = await respond(client)
    answer = await client.post(f"{RESPONSES}/{made['id']}/cancel")
    assert answer.status_code == 400
    assert "synchronous" in error_of(answer)["message"]
    assert (await client.post(f"{RESPONSES}/resp_none/cancel")).status_code == 404


@pytest.mark.parametrize("path", ["resp_none", "resp_none/input_items"])
async def test_unknown_responses(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"{RESPONSES}/{path}")
    assert answer.status_code == 404
    assert error_of(answer)["type"] == "invalid_request_error"


async def test_stored_responses_are_not_streamed(client: httpx.AsyncClient) -> None:
    made = await respond(client)
    answer = await client.get(f"{RESPONSES}/{made['id']}", params={"stream": "true"})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "stream")


async def test_store_false(client: httpx.AsyncClient) -> None:
    made = await respond(client, store=False)
    assert made["store"] is False
    assert (await client.get(f"{RESPONSES}/{made['id']}")).status_code == 404


async def test_previous_response(client: httpx.AsyncClient, engine: FakeEngine, images: Path) -> None:
    url = data_url((images / "a.png").read_bytes())
    question = message([image_part(url), text_part("What is this?")])
    first = await respond(client, [question], instructions="Be brief.")
    await respond(client, "And its colour?", previous_response_id=first["id"])
    await respond(client, [question, message(text_of(first), "assistant"), message("And its colour?")])
    chained, written_out = engine.requests[-2:]
    assert chained.token_ids == written_out.token_ids
    assert len(chained.images) == 1


async def test_instructions_are_not_carried_over(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    first = await respond(client, "Hi", instructions="Speak French.")
    await respond(client, "Bye", previous_response_id=first["id"], instructions="Speak German.")
    prompt = engine.info.vocabulary.decode(engine.requests[-1].token_ids)
    assert "German" in prompt
    assert "French" not in prompt


async def test_chains_branch(client: httpx.AsyncClient) -> None:
    first = await respond(client, "One")
    left = await respond(client, "Left", previous_response_id=first["id"])
    right = await respond(client, "Right", previous_response_id=first["id"])
    for last, other in ((left, right), (right, left)):
        ids = [item["id"] for item in (await items(client, last["id"]))["data"]]
        assert first["output"][0]["id"] in ids
        assert other["output"][0]["id"] not in ids


@pytest.mark.parametrize("previous", ["resp_none", "", "x" * 10_000])
async def test_unknown_previous_responses(client: httpx.AsyncClient, previous: str) -> None:
    error = await refusal(client, previous_response_id=previous)
    assert (error["param"], error["code"]) == ("previous_response_id", "previous_response_not_found")
    assert len(error["message"]) < 200


async def test_those_of_others_are_unknown(engine: FakeEngine) -> None:
    settings = Settings.model_validate({"api_keys": ["ann-key", "bob-key"]})
    async with in_process(engine, settings) as client:
        client.headers["Authorization"] = "Bearer ann-key"
        made = await respond(client)
        client.headers["Authorization"] = "Bearer bob-key"
        assert (await client.get(f"{RESPONSES}/{made['id']}")).status_code == 404
        answer = await client.post(RESPONSES, json=body(previous_response_id=made["id"]))
        assert error_of(answer)["code"] == "previous_response_not_found"


async def test_input_items(client: httpx.AsyncClient, images: Path) -> None:
    url = data_url((images / "a.png").read_bytes())
    first = await respond(client, [message([image_part(url), text_part("What is this?")])])
    second = await respond(client, "Sure?", previous_response_id=first["id"])
    listed = await items(client, second["id"], order="asc")
    question, answer, doubt = listed["data"]
    assert [part["type"] for part in question["content"]] == ["input_image", "input_text"]
    assert question["content"][0]["image_url"] == url
    assert answer == first["output"][0]
    assert doubt["content"] == [{"type": "input_text", "text": "Sure?"}]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (question["id"], doubt["id"], False)
    newest = await items(client, second["id"], limit=1)
    assert ([item["id"] for item in newest["data"]], newest["has_more"]) == ([doubt["id"]], True)
    rest = await items(client, second["id"], after=doubt["id"])
    assert [item["id"] for item in rest["data"]] == [answer["id"], question["id"]]
    nothing = await items(client, second["id"], after=question["id"])
    assert nothing["data"] == []


@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("limit", "101"), ("order", "up"), ("after", "msg_none")])
async def test_lists_that_cannot_be(client: httpx.AsyncClient, name: str, value: str) -> None:
    made = await respond(client)
    answer = await client.get(f"{RESPONSES}/{made['id']}/input_items", params={name: value})
    assert (answer.status_code, error_of(answer)["param"]) == (400, name)


async def test_item_references(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    first = await respond(client, [{**message("One"), "type": "message", "id": "msg_one"}])
    answer_id = first["output"][0]["id"]
    await respond(client, [{"type": "item_reference", "id": "msg_one"}, {"id": answer_id}, message("Two")])
    await respond(client, "Two", previous_response_id=first["id"])
    assert engine.requests[-1].token_ids == engine.requests[-2].token_ids


async def test_leaving_ends_the_work(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.hold(after=2)
    asking = asyncio.create_task(client.post(RESPONSES, json=body()))
    await engine.until(lambda: engine.steps_taken == 2)
    asking.cancel()
    await engine.until(lambda: len(engine.aborted) == 1)
    engine.release()
    await respond(client)
