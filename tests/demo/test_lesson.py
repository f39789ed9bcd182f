import json
from pathlib import Path

import pytest

from qwenvl.chat import Image, Text, read_parts
from qwenvl.demo import lesson
from qwenvl.demo.scenes import NEW_SHAPES, SHAPES
from qwenvl.demo.scores import lesson_probes, score
from qwenvl.demo.turns import Task
from qwenvl.model_executor.picture_files import open_picture


@pytest.mark.parametrize("shape", NEW_SHAPES)
def test_data_in_the_official_format(shape: str, tmp_path: Path) -> None:
    lesson.main([shape, "--count", "30", "--output", str(tmp_path)])
    samples = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    assert len({sample["id"] for sample in samples}) == 30
    for sample in samples:
        turns = sample["conversations"]
        assert [turn["from"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
        first, picture, *_ = read_parts(turns[0]["value"])
        assert first == Text("Picture 1: ")
        assert isinstance(picture, Image)
        assert open_picture(picture.image, tmp_path).size == (336, 336)
    said = " ".join(turn["value"] for sample in samples for turn in sample["conversations"])
    assert said.count(shape) > 20
    assert f"There is no {shape} in" in said or f"no {shape}s" in said


def test_a_shape_is_new() -> None:
    assert not set(NEW_SHAPES) & set(SHAPES)


def test_questions_about_the_new_shape() -> None:
    found = lesson_probes("moon", 8)
    assert {probe.row for probe in found} == {"grounding, moon", "shape, moon", "absent, moon"}
    for probe in found:
        there = [thing for thing in probe.scenes[0].things if thing.shape == "moon"]
        assert len(there) == (0 if probe.turn.task is Task.ABSENT else 1)
    assert all(of["right"] == 1.0 for of in score(found, [probe.turn.answer for probe in found]).values())
