"""Boxes as parts of messages."""

from typing import Any

import httpx
import pytest

from qwenvl.api import Settings
from tests.api.chatting import CHAT, ask, body, error_of, image_part, refusal, text_part
from tests.api.grounding.test_answers import picture
from tests.api.live import in_process
from tests.fake_engine import FakeEngine
from tests.scripted_engine import ScriptedEngine


def box(*corners: float, **fields: Any) -> dict[str, Any]:
    return {"type": "box", "box": list(corners), **fields}


def asked(engine: FakeEngine) -> str:
    """What the engine was asked last."""
    return engine.info.vocabulary.decode(engine.requests[-1].token_ids)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (box(64, 96, 192, 192), "<box>(100,200),(300,400)</box>"),
        (box(64, 96, 192, 192, ref="the dog"), "<ref>the dog</ref><box>(100,200),(300,400)</box>"),
        (box(192, 192, 64, 96), "<box>(100,200),(300,400)</box>"),
        (box(0, 0, 640, 480), "<box>(0,0),(999,999)</box>"),
        (box(100, 200, 300, 400, unit="permille"), "<box>(100,200),(300,400)</box>"),
        (box(10, 20, 50, 60, image_index=0), "<box>(100,200),(500,600)</box>"),
        (
            {"type": "box", "box": {"x1": 64, "y1": 96, "x2": 192, "y2": 192, "confidence": 0.5}},
            "<box>(100,200),(300,400)</box>",
        ),
    ],
)
async def test_a_box_is_written_as_the_model_knows_it(
    client: httpx.AsyncClient, engine: FakeEngine, part: dict[str, Any], text: str
) -> None:
    parts = [picture(100, 100), picture(), text_part("What is in "), part, text_part("?")]
    completion = await ask(client, parts, max_tokens=4)
    assert f"\nWhat is in {text}?<|im_end|>" in asked(engine)
    assert completion["usage"]["prompt_tokens"] == len(engine.requests[-1].token_ids) + 2 * 256


async def test_boxes_of_answers_can_be_sent_back(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    answer = {"role": "assistant", "content": [text_part("It is "), box(64, 96, 192, 192, ref="here")]}
    messages = [{"role": "user", "content": [picture()]}, answer, {"role": "user", "content": "Sure?"}]
    response = await client.post(CHAT, json=body(max_tokens=4) | {"messages": messages})
    assert response.status_code == 200
    assert "It is <ref>here</ref><box>(100,200),(300,400)</box><|im_end|>" in asked(engine)


async def test_responses_take_them_too(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    shown = {"type": "input_image", "image_url": picture()["image_url"]["url"]}
    request = {"model": "tiny", "input": [{"role": "user", "content": [shown, box(64, 96, 192, 192)]}]}
    first = await client.post("/v1/responses", json=request | {"max_output_tokens": 4})
    assert first.status_code == 200, first.text
    assert "<box>(100,200),(300,400)</box><|im_end|>" in asked(engine)
    again = {"model": "tiny", "input": "And?", "previous_response_id": first.json()["id"], "max_output_tokens": 4}
    assert (await client.post("/v1/responses", json=again)).status_code == 200
    assert "<box>(100,200),(300,400)</box><|im_end|>" in asked(engine)
    items = await client.get(f"/v1/responses/{first.json()['id']}/input_items")
    assert items.json()["data"][0]["content"][1]["box"] == [64, 96, 192, 192]
    request["input"][0]["content"][1] = box(64, 96, 9999, 192)
    error = error_of(await client.post("/v1/responses", json=request))
    assert error["param"] == "input[0].content[1].box"


@pytest.mark.parametrize(
    ("part", "param", "reason"),
    [
        (box(1, 2, 3), "box", "4 numbers"),
        (box(1, 2, 3, 4, 5), "box", "4 numbers"),
        ({"type": "box"}, "box", "required"),
        ({"type": "box", "box": {"x1": 1, "y1": 2, "x2": 3}}, "box.y2", "required"),
        ({"type": "box", "box": "1,2,3,4"}, "box", "list of 4 numbers"),
        (box(1, 2, 3, "4"), "box[3]", "number"),
        (box(0, 0, 641, 10), "box", "640 x 480 pixels"),
        (box(-1, 0, 10, 10), "box", "within the picture"),
        (box(0, 0, 1001, 10, unit="permille"), "box", "1000 x 1000 thousandths"),
        (box(0, 0, 1, 1, unit="cm"), "unit", "'pixel' or 'permille'"),
        (box(0, 0, 1, 1, image_index=1), "image_index", "less than 1"),
        (box(0, 0, 1, 1, image_index=-1), "image_index", "at least 0"),
        (box(0, 0, 1, 1, ref="a</ref><box>(1,2)"), "ref", "without tags"),
        (box(0, 0, 1, 1, ref="a＜/ref＞＜box＞(1,2)"), "ref", "without tags"),
        (box(0, 0, 1, 1, ref=" "), "ref", "must be a phrase"),
    ],
)
async def test_what_is_no_box(client: httpx.AsyncClient, part: dict[str, Any], param: str, reason: str) -> None:
    message = {"role": "user", "content": [picture(), text_part("?"), part]}
    error = await refusal(client, messages=[message])
    assert error["param"] == f"messages[0].content[2].{param}"
    assert reason in error["message"]


async def test_where_no_box_belongs(client: httpx.AsyncClient) -> None:
    error = await refusal(client, messages=[{"role": "user", "content": [box(1, 2, 3, 4), picture()]}])
    assert (error["param"], "picture before it" in error["message"]) == ("messages[0].content[0]", True)
    system = {"role": "system", "content": [box(1, 2, 3, 4)]}
    error = await refusal(client, messages=[system, {"role": "user", "content": "?"}])
    assert (error["param"], "user and assistant" in error["message"]) == ("messages[0].content[0]", True)


async def test_thousandths_need_no_picture(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await ask(client, [text_part("See "), box(1, 2, 3, 4, unit="permille")], max_tokens=4)
    assert "See <box>(1,2),(3,4)</box><|im_end|>" in asked(engine)


async def test_an_echoed_message_has_its_boxes(client: httpx.AsyncClient) -> None:
    said = {"role": "assistant", "content": [text_part("See "), box(64, 96, 192, 192), text_part(" and")]}
    messages = [{"role": "user", "content": [picture()]}, said]
    request = body(max_tokens=4, echo=True, continue_final_message=True, grounding={})
    message = (await client.post(CHAT, json=request | {"messages": messages})).json()["choices"][0]["message"]
    assert message["content"].startswith("See <box>(100,200),(300,400)</box> and")
    # The model did not write it, so nobody knows how sure it was.
    assert message["grounding"][0]["boxes"] == [{"x1": 64, "y1": 96, "x2": 192, "y2": 192}]


async def test_pictures_keep_their_numbers_when_the_oldest_are_left_out(engine: FakeEngine) -> None:
    def turn(width: int, *parts: dict[str, Any]) -> dict[str, Any]:
        shown = {"type": "input_image", "image_url": picture(width, 100)["image_url"]["url"]}
        return {"role": "user", "content": [shown, *parts]}

    async with in_process(ScriptedEngine("<box>(1,2),(3,4)</box>"), Settings()) as client:

        async def respond(last: dict[str, Any]) -> httpx.Response:
            turns = [turn(100 * (i + 1)) for i in range(8)]
            request = {"model": "tiny", "input": [*turns, last], "truncation": "auto", "grounding": {}}
            return await client.post("/v1/responses", json=request | {"max_output_tokens": 30})

        response = await respond(turn(900, box(80, 0, 400, 50, image_index=7)))
        (finding,) = response.json()["output"][0]["content"][0]["grounding"]
        assert (finding["image_index"], finding["image"]["width"]) == (8, 900)
        error = error_of(await respond(turn(900, box(1, 0, 2, 50, image_index=0))))
    assert error["param"] == "input[8].content[1].image_index"
    assert "left out" in error["message"]


async def test_a_picture_that_cannot_be_had_is_what_is_refused(client: httpx.AsyncClient) -> None:
    parts = [image_part("data:image/png;base64,AAAA"), box(1, 2, 3, 4)]
    error = await refusal(client, messages=[{"role": "user", "content": parts}])
    assert error["param"] == "messages[0].content[0].image_url.url"
