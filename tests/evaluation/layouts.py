"""A few samples of every task, written by hand in the official layouts."""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image

from qwenvl.evaluation.metrics.mme import SUBTASKS
from qwenvl.evaluation.tasks.task import Layout, Task

SAMPLES = 3
SIZE = (64, 48)


def write_task(task: Task, data: Path) -> int:
    """Its files, with pictures: how many samples they hold."""
    return _WRITERS[task.layout](task, data)


def picture(data: Path, name: str) -> str:
    (data / name).parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", SIZE, (200, 30, 30)).save(data / name)
    return name


def write_lines(path: Path, lines: Sequence[Mapping[str, Any] | str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{line}\n" for line in written), encoding="utf-8")


def write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def questions(task: Task, data: Path) -> list[dict[str, Any]]:
    folder = Path(task.samples).parent
    return [
        {"image": picture(data, f"{folder}/{i}.png"), "question": f"How many are {i}?", "question_id": 100 + i}
        for i in range(SAMPLES)
    ]


def _questions(task: Task, data: Path) -> int:
    lines = questions(task, data)
    is_public = task.annotations is None and task.questions is None and not task.name.endswith("docvqa-test")
    answers = ["yes", "Yes, 2"] if task.name.startswith("chartqa") else "yes"
    write_lines(data / task.samples, [line | ({"answer": answers} if is_public else {}) for line in lines])
    assert task.train is not None
    write_lines(data / task.train, [line | {"answer": "no"} for line in lines])
    official = [{key: line[key] for key in ("question", "question_id")} for line in lines]
    if task.questions:
        write_json(data / task.questions, {"info": {"year": [1, 2]}, "questions": official, "data_subtype": "val2014"})
    if task.annotations:
        people = [{"answer": "yes", "answer_confidence": "maybe", "answer_id": i + 1} for i in range(10)]
        entries = [{"question_id": line["question_id"], "answers": people, "image_id": 3} for line in lines]
        write_json(data / task.annotations, {"license": {}, "annotations": entries})
    return SAMPLES


def _boxes(task: Task, data: Path) -> int:
    image = picture(data, f"{Path(task.samples).parent}/1.png")
    sizes = {"height": SIZE[1], "width": SIZE[0]}
    boxes = [[0, 0, 64, 48], [0, 0, 30.5, 20], [32, 24, 64, 48]]
    write_lines(data / task.samples, [{"image": image, "sent": "red one", "bbox": box, **sizes} for box in boxes])
    return len(boxes)


def _choices(task: Task, data: Path) -> int:
    image = picture(data, f"{Path(task.samples).parent}/1.png")
    line = {"image": image, "hint": "", "question": "Which?", "choices": ["red", "blue", "green"]}
    given = [{"answer": 0}, {"answer": "C", "hint": "A hint."}, {"answer": "blue"}]
    public = [{} if task.name.startswith("mmbench-test") else answer for answer in given]
    write_lines(data / task.samples, [line | {"index": 7 + i} | answer for i, answer in enumerate(public)])
    return len(given)


def _prompts(task: Task, data: Path) -> int:
    folder = Path(task.samples).parent
    frames = [picture(data, f"{folder}/{i}.png") for i in range(1 if task.name == "seed-image" else 4)]
    shown = "".join(f"<img>{name}</img>\n" for name in frames)
    prompt = f"{shown}Question: What?\nOptions: A. a\nB. b\nC. c\nD. d\nAnswer:"
    write_lines(data / task.samples, [{"question_id": f"q{i}", "prompt": prompt} for i in range(SAMPLES)])
    assert task.annotations is not None
    answers = [{"question_id": f"q{i}", "answer": "ABCD"[i], "question_type_id": 1} for i in range(SAMPLES)]
    write_json(data / task.annotations, {"question_type": {"x": 1}, "questions": answers})
    return SAMPLES


def _captions(task: Task, data: Path) -> int:
    folder = Path(task.samples).parent
    images = [{"id": i, "image": picture(data, f"{folder}/{i}.png")} for i in range(SAMPLES)]
    texts = ["a red picture", "all of it is red", "a blue one"]
    written = [{"id": 9 + n, "image_id": i, "caption": f"{texts[i]} {n}"} for i in range(SAMPLES) for n in range(2)]
    write_json(data / task.samples, {"images": images, "annotations": written})
    return SAMPLES


def _mme(task: Task, data: Path) -> int:
    (data / task.samples).mkdir(parents=True)
    for i, subtask in enumerate(SUBTASKS):
        folder = f"mme/MME_Benchmark_release_version/{subtask}{'/images' if i % 2 else ''}"
        picture(data, f"{folder}/1.png")
        lines = [f"1.png\tIs it red? Please answer yes or no.\t{truth}" for truth in ("Yes", "No")]
        write_lines(data / task.samples / f"{subtask}.txt", lines)
    return 2 * len(SUBTASKS)


def _touchstone(task: Task, data: Path) -> int:
    file = io.BytesIO()
    PIL.Image.new("RGB", SIZE, (200, 30, 30)).save(file, "PNG")
    embedded = base64.b64encode(file.getvalue()).decode()
    columns = ("index", "image", "question", "human_annotation", "gpt4_ha_answer", "category", "task_name")
    rows = [
        ("1", embedded, "What is it?", "All red.", "It is red.", "basic", "description"),
        ("2", embedded, '"Why?"', "All red.", "Since it is.", "reasoning", "why"),
    ]
    path = data / task.samples
    path.parent.mkdir(parents=True)
    written = [columns, *((*row[:2], f'"{row[2].replace(chr(34), chr(34) * 2)}"', *row[3:]) for row in rows)]
    path.write_text("".join("\t".join(row) + "\n" for row in written), encoding="utf-8")
    return len(rows)


_WRITERS: Mapping[Layout, Callable[[Task, Path], int]] = {
    Layout.QUESTIONS: _questions,
    Layout.BOXES: _boxes,
    Layout.CHOICES: _choices,
    Layout.PROMPTS: _prompts,
    Layout.CAPTIONS: _captions,
    Layout.MME: _mme,
    Layout.TOUCHSTONE: _touchstone,
}
