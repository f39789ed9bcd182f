"""``POST /v1/grounding``."""

import base64
import io
from typing import Any

import httpx
import PIL.Image
import pytest

from qwenvl.api import Settings
from qwenvl.api.grounding.schemas import MAX_PHRASES
from qwenvl.chat import PromptFormat
from tests.api.chatting import error_of
from tests.api.grounding.test_answers import picture
from tests.api.live import in_process
from tests.fake_engine import FakeEngine, model_info
from tests.scripted_engine import ScriptedEngine

PATH = "/v1/grounding"
DOG = "<ref>dog</ref><box>(100,200),(300,400)</box>"


def body(*phrases: str, **fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "image": picture()["image_url"], "phrases": phrases or ["the dog"], **fields}


async def find(client: httpx.AsyncClient, *phrases: str, **fields: Any) -> dict[str, Any]:
    response = await client.post(PATH, json=body(*phrases, **fields))
    assert response.status_code == 200, response.text
    return dict(response.json())


def prompts(engine: FakeEngine) -> list[str]:
    return [engine.info.vocabulary.decode(request.token_ids) for request in engine.requests]


async def test_a_phrase_in_a_picture() -> None:
    engine = ScriptedEngine(DOG)
    async with in_process(engine, Settings()) as client:
        found = await find(client)
    (result,) = found["results"]
    assert result["boxes"][0].items() >= {"x1": 64, "y1": 96, "x2": 192, "y2": 192}.items()
    assert 0 < result["boxes"][0]["confidence"] <= 1
    assert (result["phrase"], result["found"], result["text"], result["unit"]) == ("the dog", True, DOG, "pixel")
    assert (result["image_index"], result["finish_reason"]) == (0, "stop")
    assert found["images"] == [{"width": 640, "height": 480, "orientation": 1}]
    assert found["object"] == "grounding"
    (request,) = engine.requests
    usage = found["usage"]
    assert usage["prompt_tokens"] == len(request.token_ids) + 256
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert request.sampling.temperature == 0
    assert "Picture 1:<img></img>\nGive the bounding box of the dog.<|im_end|>" in prompts(engine)[0]


async def test_every_phrase_in_every_picture_as_one_batch() -> None:
    engine = ScriptedEngine(DOG, "There is none.")
    async with in_process(engine, Settings()) as client:
        images = [picture(100, 100)["image_url"], picture(200, 50)["image_url"]["url"]]
        request = {"model": "tiny", "images": images, "phrases": ["dog", "猫"], "unit": "permille", "confidence": False}
        found = (await client.post(PATH, json=request)).json()
    assert [(r["image_index"], r["phrase"]) for r in found["results"]] == [(0, "dog"), (0, "猫"), (1, "dog"), (1, "猫")]
    assert sum(r["found"] for r in found["results"]) == 2
    assert all(
        r["boxes"] == ([{"x1": 100, "y1": 200, "x2": 300, "y2": 400}] if r["found"] else []) for r in found["results"]
    )
    assert [image["width"] for image in found["images"]] == [100, 200]
    assert sum("框出图中猫的位置" in prompt for prompt in prompts(engine)) == 2


async def test_prompts_of_ones_own() -> None:
    engine = ScriptedEngine(DOG)
    async with in_process(engine, Settings()) as client:
        await find(client, "the dog", prompt="Find {phrase}, please")
        assert "Find the dog, please<|im_end|>" in prompts(engine)[0]
        error = error_of(await client.post(PATH, json=body(prompt="Find it")))
    assert (error["param"], "{phrase}" in error["message"]) == ("prompt", True)


@pytest.mark.parametrize("constrained", [False, True])
async def test_base_models_go_on_within_the_box(constrained: bool) -> None:
    engine = ScriptedEngine("(100,200),(300,400)</box>", info=model_info(prompt_format=PromptFormat.RAW))
    async with in_process(engine, Settings()) as client:
        found = await find(client, "dog", constrained=constrained)
    assert prompts(engine) == ["<img></img><ref>dog</ref><box>"]
    (result,) = found["results"]
    assert (result["boxes"][0]["x1"], result["text"]) == (64, "(100,200),(300,400)</box>")


async def test_constrained_answers_begin_within_the_box() -> None:
    async with in_process(engine := FakeEngine(), Settings()) as client:
        found = await find(client, "dog", constrained=True, max_boxes=3)
    assert prompts(engine)[0].endswith("assistant\n<ref>dog</ref><box>")
    (request,) = engine.requests
    assert request.sampling.structure is not None
    assert request.sampling.max_tokens == 96
    assert found["results"][0]["found"]


async def test_the_picture_with_what_was_found() -> None:
    async with in_process(ScriptedEngine(DOG), Settings()) as client:
        found = await find(client, annotated=True)
    head, _, data = found["images"][0]["annotated"].partition(",")
    assert head == "data:image/png;base64"
    drawn = PIL.Image.open(io.BytesIO(base64.b64decode(data)))
    assert drawn.size == (640, 480)
    assert all(drawn.getpixel(place) != (0, 0, 0) for place in ((64, 150), (192, 150), (100, 192)))
    assert drawn.getpixel((128, 144)) == drawn.getpixel((500, 400)) == (0, 0, 0)


async def test_large_pictures_are_drawn_smaller() -> None:
    async with in_process(ScriptedEngine(DOG), Settings()) as client:
        found = await find(client, annotated=True, image=picture(3000, 1500)["image_url"])
    data = found["images"][0]["annotated"].partition(",")[2]
    assert PIL.Image.open(io.BytesIO(base64.b64decode(data))).size == (1280, 640)
    assert found["images"][0]["width"] == 3000


@pytest.mark.parametrize(
    ("fields", "param", "reason"),
    [
        ({"phrases": []}, "phrases", "at least 1"),
        ({"phrases": ["x"] * (MAX_PHRASES + 1)}, "phrases", f"at most {MAX_PHRASES}"),
        ({"phrases": [""]}, "phrases[0]", "empty"),
        ({"phrases": ["dog", "a<box>"]}, "phrases[1]", "without tags"),
        ({"phrases": ["dog＜/ref＞＜box＞(1,2),(3,4)"]}, "phrases[0]", "without tags"),
        ({"phrases": [" "]}, "phrases[0]", "must be a phrase"),
        ({"prompt": "{phrase}" * 2}, "prompt", "once"),
        ({"prompt": "{phrase}" + "文" * 2000}, "phrases[0]", "maximum context length"),
        ({"image": None, "images": ["data:,"] * 9, "annotated": True}, "annotated", "more than 8"),
        ({"image": None, "images": ["data:,"] * 20}, "images[16]", "at most 16 images"),
        ({"phrases": "dog"}, "phrases", "list"),
        ({"image": None}, "image", "either image or images"),
        ({"images": ["data:,"]}, "images", "either image or images"),
        ({"image": None, "images": []}, "images", "at least one"),
        ({"image": None, "images": ["data:,"] * 16, "phrases": ["x"] * 17}, "phrases", "more than 256"),
        ({"image": "file:///etc/passwd"}, "image", "http or https"),
        ({"image": {"url": "data:image/png;base64,AAAA"}}, "image.url", "not in one of the formats"),
        ({"model": "other"}, "model", "does not exist"),
        ({"max_boxes": 0}, "max_boxes", "at least 1"),
        ({"max_tokens": 10, "constrained": True, "max_boxes": 1}, "max_tokens", "at least 32"),
        ({"max_tokens": 5000}, "max_tokens", "maximum context length"),
        ({"unit": "cm"}, "unit", "'pixel' or 'permille'"),
        ({"threshold": 1}, "threshold", "Unknown parameter"),
    ],
)
async def test_what_is_refused(client: httpx.AsyncClient, fields: dict[str, Any], param: str, reason: str) -> None:
    response = await client.post(PATH, json=body() | fields)
    error = error_of(response)
    assert (error["param"], reason in error["message"]) == (param, True), error["message"]
    assert response.status_code in (400, 404)


async def test_a_text_model_finds_nothing() -> None:
    async with in_process(FakeEngine(model_info(tokens_per_image=0)), Settings()) as client:
        error = error_of(await client.post(PATH, json=body()))
    assert error["code"] == "images_not_supported"


async def test_what_follows_the_phrases_boxes_is_of_other_things() -> None:
    answer = "(1,2),(3,4)</box><box>(5,6),(7,8)</box><box>(9,9),(9,9)</box><ref>cat</ref><box>(1,1),(9,9)</box>"
    async with in_process(
        ScriptedEngine(answer, info=model_info(prompt_format=PromptFormat.RAW)), Settings()
    ) as client:
        found = await find(client, "dog", unit="permille", confidence=False, max_boxes=2)
    assert [box["x1"] for box in found["results"][0]["boxes"]] == [1, 5]


async def test_tokens_of_all_searches_are_taken_at_once() -> None:
    """All or nothing: half of the searches are of no use to anybody."""
    settings = Settings(api_keys=("a-long-enough-secret",), tokens_per_minute=2000)
    async with in_process(engine := ScriptedEngine(DOG), settings) as client:
        client.headers["Authorization"] = "Bearer a-long-enough-secret"
        response = await client.post(PATH, json=body(*map(str, range(20))))
        assert response.status_code == 429
        assert "Request too large" in error_of(response)["message"]
        assert not engine.requests
        found = await find(client, "1", "2")
        left = (await client.post(PATH, json=body("3"))).headers["x-ratelimit-remaining-tokens"]
    assert 0 < int(left) < 2000 - found["usage"]["total_tokens"]
