"""Boxes through the openai SDK: of the small model on scenes it never saw, and of random weights, constrained."""

import asyncio
import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from benchmarks.small_model import picture_url
from qwenvl.demo.scores import Probe, overlap, probes
from tests.server.processes import PROJECT, server_process
from tests.server.test_command import SERVING
from tests.stack import MODEL, Stack

pytestmark = pytest.mark.slow

SIZE = (640, 480)
PER_ROW = 20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Name and URL of the built-in model."""
    with server_process(["qwenvl.cli", "serve", "--port", "0"], tmp_path_factory.mktemp("small") / "log") as server:
        name, url = server.wait_for(SERVING).groups()
        yield name, url


def asked() -> list[Probe]:
    return [probe for probe in probes(PER_ROW, "through the SDK") if probe.row.startswith("grounding")]


def request_of(probe: Probe, model: str) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": picture_url(probe.scenes[0], SIZE)}}
    content = [image, {"type": "text", "text": probe.turn.question}]
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": 150,
        "extra_body": {"grounding": {"clean_text": True}},
    }


def share(box: dict[str, float]) -> tuple[float, float, float, float]:
    return box["x1"] / SIZE[0], box["y1"] / SIZE[1], box["x2"] / SIZE[0], box["y2"] / SIZE[1]


def test_boxes_fall_on_what_they_name(small: tuple[str, str]) -> None:
    """Plain and streamed, in pixels of a picture that is not square; at least as well as the model card says."""
    model, url = small

    async def findings(client: openai.AsyncOpenAI, probe: Probe, *, stream: bool) -> list[dict[str, Any]]:
        if not stream:
            answer = await client.chat.completions.create(**request_of(probe, model))
            assert "<" not in answer.choices[0].message.content
            return list(answer.choices[0].message.grounding)
        chunks = await client.chat.completions.create(**request_of(probe, model), stream=True)
        return [finding async for chunk in chunks for finding in getattr(chunk.choices[0].delta, "grounding", [])]

    async def run() -> list[list[list[dict[str, Any]]]]:
        found = []
        for stream in (False, True):
            # A client each: connections that idled while the first half was answered may be closed by now.
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
                found.append(await asyncio.gather(*(findings(client, probe, stream=stream) for probe in asked())))
        return found

    for found in asyncio.run(run()):
        overlaps = [
            overlap(share(said[0]["boxes"][0]), probe.turn.targets[0].box) if said else 0.0
            for probe, said in zip(asked(), found, strict=True)
        ]
        # The card's figures, less what a hundred questions may differ by chance.
        assert sum(overlaps) / len(overlaps) > 0.86
        assert sum(value >= 0.5 for value in overlaps) / len(overlaps) > 0.94


def test_phrases_in_one_call(small: tuple[str, str]) -> None:
    model, url = small
    found = 0
    wanted = asked()[:PER_ROW]
    with httpx.Client(base_url=url, timeout=120) as client:
        for probe in wanted:
            phrase = re.search(r"<ref>(.*?)</ref>", probe.turn.answer)
            assert phrase is not None
            body = {"model": model, "image": picture_url(probe.scenes[0], SIZE), "phrases": [phrase[1]]}
            (result,) = client.post("/v1/grounding", json=body).json()["results"]
            found += result["found"] and overlap(share(result["boxes"][0]), probe.turn.targets[0].box) > 0.5
    assert found / len(wanted) > 0.9


def test_the_example(
    small: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    _, url = small
    code = (PROJECT / "examples" / "grounding.py").read_text(encoding="utf-8").replace("http://localhost:8000", url)
    exec(compile(code, "grounding.py", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if re.match(r"a (red circle|blue square|green triangle) \[{'x1'", line)]
    assert len(said) == 3, lines
    assert "<" not in lines[0]
    assert any(" at {'x1': 3" in line for line in lines)
    assert re.search("red circle|green triangle|blue square", lines[-1])


CALLS = 8
PHRASES = [f"thing {i}" for i in range(63)] + ["那只狗", "<img>"]


def test_what_is_constrained_always_parses(stack: Stack, images: Path) -> None:
    """A thousand times, of random weights at temperature 1, in both prompt formats."""
    results: list[dict[str, Any]] = []
    body = {
        "model": MODEL,
        "images": [f"data:image/png;base64,{_base64(images / name)}" for name in ("a.png", "c.png")],
        "phrases": PHRASES[-63:],
        "constrained": True,
        "max_boxes": 2,
        "temperature": 1,
    }
    with httpx.Client(base_url=stack.base_url, timeout=600) as client:
        for seed in range(CALLS):
            options = {"seed": seed, "chat_template_kwargs": {"chat_format": ("chatml", "raw")[seed % 2]}}
            response = client.post("/grounding", json=body | options)
            assert response.status_code == 200, response.text
            results += response.json()["results"]
    assert len(results) == CALLS * 2 * 63 > 1000
    coordinate = "(0|[1-9][0-9]{0,2})"
    box = rf"\({coordinate},{coordinate}\),\({coordinate},{coordinate}\)</box>"
    for result in results:
        assert re.fullmatch(rf"{box}(<box>{box})?", result["text"]), result["text"]
        assert (result["finish_reason"], result["found"]) == ("stop", True)
        assert len(result["boxes"]) == result["text"].count("</box>")
    # Weights as random as these have their favourites; but nothing forces one answer.
    assert len({result["text"] for result in results}) > 100


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
