"""Findings of answers, as chat completions and responses tell them."""

import io
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import PIL.ExifTags
import PIL.Image
import pytest
import pytest_asyncio

from qwenvl.api import Settings
from tests.api.chatting import CHAT, ask, body, chunks_of, image_part, refusal, text_part
from tests.api.live import LiveServer, data_url, in_process
from tests.api.responses.answering import events_of
from tests.scripted_engine import ScriptedEngine

RAW = (
    "A <ref>red circle</ref><box>(100,200),(300,400)</box><box>(0,0),(999,999)</box>, and 文"
    "<quad>(0,0),(500,0),(500,500),(0,500)</quad>."
)
CLEAN = "A red circle, and 文."


def picture(width: int = 640, height: int = 480, orientation: int = 1) -> dict[str, Any]:
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height)).save(file, "PNG", exif=exif)
    return image_part(data_url(file.getvalue()))


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(ScriptedEngine(RAW), Settings()) as http:
        yield http


async def message(client: httpx.AsyncClient, *parts: dict[str, Any], **options: Any) -> dict[str, Any]:
    parts = parts or (picture(),)
    completion = await ask(client, [*parts, text_part("What is there?")], grounding=options, max_tokens=200)
    return dict(completion["choices"][0]["message"])


async def test_boxes_in_pixels(client: httpx.AsyncClient) -> None:
    said = await message(client, picture(1, 1), picture())
    circle, quad = said["grounding"]
    assert said["content"] == RAW
    assert circle["ref"] == "red circle"
    assert [[box[k] for k in ("x1", "y1", "x2", "y2")] for box in circle["boxes"]] == [
        [64, 96, 192, 192],
        [0, 0, 639, 479],
    ]
    assert circle["image_index"] == 1
    assert circle["image"] == {"width": 640, "height": 480, "orientation": 1}
    assert circle["unit"] == "pixel"
    assert (
        RAW[slice(*circle["span"])] == "<ref>red circle</ref><box>(100,200),(300,400)</box><box>(0,0),(999,999)</box>"
    )
    assert (quad["ref"], quad["quads"][0]["points"]) == (None, [[0, 0], [320, 0], [320, 240], [0, 240]])
    assert all(0 < shape["confidence"] <= 1 for shape in (*circle["boxes"], *quad["quads"]))


async def test_thousandths_and_clean_text_without_confidence(client: httpx.AsyncClient) -> None:
    said = await message(client, unit="permille", clean_text=True, confidence=False)
    circle, quad = said["grounding"]
    assert said["content"] == CLEAN
    assert circle["boxes"] == [{"x1": 100, "y1": 200, "x2": 300, "y2": 400}, {"x1": 0, "y1": 0, "x2": 999, "y2": 999}]
    assert CLEAN[slice(*circle["span"])] == "red circle"
    assert quad["span"][0] == quad["span"][1] == CLEAN.index("文") + 1
    assert circle["unit"] == "permille"


async def test_a_photo_is_as_people_see_it(client: httpx.AsyncClient) -> None:
    circle, _ = (await message(client, picture(640, 480, orientation=6)))["grounding"]
    assert circle["image"] == {"width": 480, "height": 640, "orientation": 6}
    assert circle["boxes"][0]["x2"] == 144


async def test_a_photo_is_as_it_is_stored() -> None:
    async with in_process(ScriptedEngine(RAW), Settings(apply_exif_orientation=False)) as client:
        circle, _ = (await message(client, picture(640, 480, orientation=6)))["grounding"]
    assert circle["image"] == {"width": 640, "height": 480, "orientation": 1}


async def test_without_a_picture_there_are_thousandths(client: httpx.AsyncClient) -> None:
    circle, _ = (await message(client, text_part("Hello")))["grounding"]
    assert (circle["unit"], circle["image_index"], circle["image"]) == ("permille", None, None)
    assert circle["boxes"][0]["x1"] == 100


async def test_nothing_is_there_that_was_not_asked_for(client: httpx.AsyncClient) -> None:
    completion = await ask(client, [picture()], max_tokens=200)
    assert "grounding" not in completion["choices"][0]["message"]
    said = await message(client)
    assert "logprobs" not in said
    completion = await ask(client, [picture()], grounding={}, max_tokens=200)
    assert completion["choices"][0]["logprobs"] is None


async def test_phrases_without_a_box_are_no_findings() -> None:
    async with in_process(ScriptedEngine("A <ref>dog</ref> sits."), Settings()) as client:
        said = await message(client, clean_text=True)
    assert (said["content"], said["grounding"]) == ("A dog sits.", [])


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("n", [1, 2])
async def test_a_stream_tells_each_finding_once_it_is_whole(client: httpx.AsyncClient, clean: bool, n: int) -> None:
    request = body([picture()], grounding={"clean_text": clean}, stream=True, max_tokens=200, n=n)
    chunks = chunks_of(await client.post(CHAT, json=request))
    whole = await message(client, clean_text=clean)
    for index in range(n):
        deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"][0]["index"] == index]
        assert all(c["choices"][0]["logprobs"] is None for c in chunks)
        shown, told = "", []
        for delta in deltas:
            shown += delta.get("content", "")
            told += delta.get("grounding", [])
            assert not clean or not set("<>") & set(shown)
            # What a finding names has been shown when it is told.
            assert all(finding["span"][1] <= len(shown) for finding in told)
        assert shown == (CLEAN if clean else RAW)
        assert told == whole["grounding"]
        assert len([delta for delta in deltas if delta.get("grounding")]) == 2


async def test_logprobs_are_shown_where_they_are_asked_for(client: httpx.AsyncClient) -> None:
    completion = await ask(client, [picture()], grounding={}, logprobs=True, max_tokens=200)
    choice = completion["choices"][0]
    tokens = choice["logprobs"]["content"]
    # The numbers of the first box, as the tokens spell them.
    place, numbers, wanted = 0, [], RAW.index("(100,200),(300,400)")
    for token in tokens:
        if wanted <= place < wanted + 19 and set(token["token"]) & set("0123456789"):
            numbers.append(token["logprob"])
        place += len(bytes(token["bytes"]).decode(errors="ignore"))
    confidence = choice["message"]["grounding"][0]["boxes"][0]["confidence"]
    assert math.isclose(confidence, math.exp(sum(numbers) / len(numbers)), rel_tol=1e-6)


async def test_an_answer_that_goes_on_with_a_message() -> None:
    async with in_process(ScriptedEngine("200),(300,400)</box>."), Settings()) as client:
        begun = {"role": "assistant", "content": "<ref>dog</ref><box>(100,"}
        request = body(max_tokens=100, echo=True, continue_final_message=True, grounding={"clean_text": True})
        request["messages"] = [{"role": "user", "content": [picture()]}, begun]
        said = (await client.post(CHAT, json=request)).json()["choices"][0]["message"]
        request["stream"] = True
        chunks = chunks_of(await client.post(CHAT, json=request))
    assert said["content"] == "dog."
    (finding,) = said["grounding"]
    assert (finding["span"], finding["boxes"][0]["x2"]) == ([0, 3], 192)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "dog."


@pytest.mark.parametrize("clean", [False, True])
async def test_what_is_gone_on_with_counts_though_it_is_not_shown(clean: bool) -> None:
    async with in_process(ScriptedEngine("200),(300,400)</box>."), Settings()) as client:
        begun = {"role": "assistant", "content": "A <ref>dog</ref><box>(100,"}
        request = body(max_tokens=100, continue_final_message=True, grounding={"clean_text": clean})
        request["messages"] = [{"role": "user", "content": [picture()]}, begun]
        said = (await client.post(CHAT, json=request)).json()["choices"][0]["message"]
    assert said["content"] == ("." if clean else "200),(300,400)</box>.")
    (finding,) = said["grounding"]
    assert (finding["ref"], finding["boxes"][0]["y1"], finding["span"][0]) == ("dog", 96, 0)
    assert 0 < finding["boxes"][0]["confidence"] <= 1


async def test_openais_stream_helper_puts_findings_together(settings: Settings) -> None:
    with LiveServer(ScriptedEngine(RAW), settings) as live:
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="any") as client:
            options: Any = {"extra_body": {"grounding": {}}, "max_tokens": 200}
            messages: Any = [{"role": "user", "content": [picture()]}]
            async with client.chat.completions.stream(model="tiny", messages=messages, **options) as stream:
                async for _ in stream:
                    pass
                message = (await stream.get_final_completion()).choices[0].message
    assert [finding["index"] for finding in message.grounding] == [0, 1]
    assert message.content == RAW


async def test_a_later_response_reads_what_the_model_wrote() -> None:
    engine = ScriptedEngine(RAW)
    async with in_process(engine, Settings()) as client:
        first = await client.post(
            "/v1/responses",
            json={"model": "tiny", "input": "?", "grounding": {"clean_text": True}, "max_output_tokens": 200},
        )
        assert first.json()["output"][0]["content"][0]["text"] == CLEAN
        again = {"model": "tiny", "input": "And?", "previous_response_id": first.json()["id"]}
        assert (await client.post("/v1/responses", json=again)).status_code == 200
    assert RAW in engine.info.vocabulary.decode(engine.requests[-1].token_ids)


async def test_what_grounding_cannot_be(client: httpx.AsyncClient) -> None:
    error = await refusal(client, grounding={"unit": "cm"})
    assert error["param"] == "grounding.unit"
    error = await refusal(client, grounding={"colour": True})
    assert error["param"] == "grounding.colour"
    tool = {"type": "function", "function": {"name": "f"}}
    error = await refusal(client, grounding={}, tools=[tool])
    assert (error["param"], "tools" in error["message"]) == ("grounding", True)


@pytest.mark.parametrize("clean", [False, True])
async def test_responses_tell_the_same(client: httpx.AsyncClient, clean: bool) -> None:
    parts = [{"type": "input_image", "image_url": picture()["image_url"]["url"]}]
    request = {
        "model": "tiny",
        "input": [{"role": "user", "content": parts}],
        "grounding": {"clean_text": clean},
        "max_output_tokens": 200,
    }
    whole = (await client.post("/v1/responses", json=request)).json()
    said = whole["output"][0]["content"][0]
    wanted = await message(client, clean_text=clean)
    assert (said["text"], said["grounding"], said["logprobs"]) == (wanted["content"], wanted["grounding"], [])
    events = events_of(await client.post("/v1/responses", json=request | {"stream": True}))
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(delta["delta"] for delta in deltas) == said["text"]
    assert [finding for delta in deltas for finding in delta.get("grounding", [])] == wanted["grounding"]
    done = events[-1]["response"]["output"][0]["content"][0]
    assert done["grounding"] == wanted["grounding"]
    stored = (await client.get(f"/v1/responses/{whole['id']}")).json()
    assert stored["output"] == whole["output"]
