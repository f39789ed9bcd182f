"""A shape that the built-in model has never seen: taught by LoRA, served beside the model, and asked for by HTTP."""

import asyncio
from pathlib import Path

import httpx
import pytest

from benchmarks.small_model import answers_of
from qwenvl.demo import built_in_checkpoint
from qwenvl.demo.lesson import write_lesson
from qwenvl.demo.scores import Probe, lesson_probes, probes, score
from qwenvl.finetuning.running import finetune
from qwenvl.finetuning.settings import FinetuneSettings
from tests.server.processes import server_process
from tests.server.test_command import SERVING

pytestmark = pytest.mark.slow

SHAPE = "moon"


def teach(folder: Path) -> Path:
    """An adapter that knows the shape."""
    settings = FinetuneSettings(
        model=str(built_in_checkpoint()),
        data=write_lesson(SHAPE, 960, folder),
        output=folder / "adapter",
        batch_size=8,
        accumulation=1,
        max_steps=120,
        learning_rate=3e-3,
        lora_alpha=64,
        gradient_checkpointing=False,
        workers=0,
    )
    assert finetune(settings).is_complete
    return settings.output


async def right(url: str, model: str, asked: list[Probe]) -> dict[str, float]:
    """Share of right answers by row."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        answers = await answers_of(client, model, asked, concurrency=32)
    return {row: of["right"] for row, of in score(asked, answers).items()}


def test_a_new_shape_is_learned_and_served_beside_the_model(tmp_path: Path) -> None:
    adapter = teach(tmp_path)
    asked = [*lesson_probes(SHAPE, 24), *(probe for probe in probes(24) if probe.row in ("shape", "grounding, 1"))]
    command = ["qwenvl.cli", "serve", "--port", "0", "--lora", f"lesson={adapter}"]
    with server_process(command, tmp_path / "log") as server:
        name, url = server.wait_for(SERVING).groups()
        before, after = (asyncio.run(right(url, model, asked)) for model in (name, "lesson"))
    assert before[f"shape, {SHAPE}"] == 0
    # Of a hundred 98 are right: there is room for another processor's sums.
    assert after[f"shape, {SHAPE}"] > 0.8
    assert after[f"grounding, {SHAPE}"] > max(0.5, before[f"grounding, {SHAPE}"])
    # Other shapes are not taken for it, and it is not seen where it is not.
    assert after["shape"] > 0.8
    assert after["grounding, 1"] > 0.8
    assert after[f"absent, {SHAPE}"] > 0.5
