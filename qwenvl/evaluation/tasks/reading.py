"""Samples of a task out of its official files, one at a time, and what is wrong with those that are none."""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from qwenvl.errors import UserError
from qwenvl.evaluation.disk_table import DiskTable
from qwenvl.evaluation.metrics.mme import SUBTASKS
from qwenvl.evaluation.metrics.options import letters, rotations
from qwenvl.evaluation.tasks.fields import MalformedError, box, identity, number, read_object, text, texts
from qwenvl.evaluation.tasks.streams import read_elements, read_lines, read_table
from qwenvl.evaluation.tasks.task import Flaw, Flawed, Layout, Sample, Task

PLACEHOLDER = "<img></img>"
_IMAGE = re.compile(r"<img>(.*?)</img>", re.DOTALL)
_TOUCHSTONE = {"annotation": "human_annotation", "reference": "gpt4_ha_answer", "category": "category"}
"""What a judge is told, by the column it stands in."""

Numbered = tuple[int, Callable[[], Sample]]
"""The place of a line, and what makes a sample of it or raises MalformedError."""


def read_samples(task: Task, data: Path) -> Iterator[Sample | Flawed]:
    """Everything of the task's input file, in its order.

    Raises:
        UserError: a file is missing, or is none of this task's.
    """
    with DiskTable() as seen, _annotations(task, data) as annotations:
        for index, make in _READERS[task.layout](task, data):
            try:
                sample = make()
            except MalformedError as error:
                yield Flawed(f"line {index + 1}", index, error.flaw, str(error))
                continue
            if not seen.add(sample.id):
                yield Flawed(sample.id, index, Flaw.DUPLICATE, f"{sample.id} was there before")
            elif task.annotations is None:
                yield sample
            else:
                yield _annotated(task, sample, annotations)


def count_annotations(task: Task, data: Path) -> int | None:
    """How many samples the official files speak of; None where they do not say."""
    for name, key in ((task.annotations, "annotations"), (task.questions, "questions")):
        if name is not None and task.layout is Layout.QUESTIONS and (data / name).exists():
            return sum(1 for _ in read_elements(data / name, key))
    return None


def _annotated(task: Task, sample: Sample, annotations: DiskTable) -> Sample | Flawed:
    found = annotations.get(sample.id)
    if found is not None:
        return replace(sample, target=json.loads(found))
    message = f"{task.annotations} says nothing of {sample.id}: is it of another split?"
    return Flawed(sample.id, sample.index, Flaw.UNANNOTATED, message)


def _annotations(task: Task, data: Path) -> DiskTable:
    table = DiskTable()
    if task.annotations is not None:
        is_seed = task.layout is Layout.PROMPTS
        for entry in read_elements(data / task.annotations, "questions" if is_seed else "annotations"):
            try:
                answer = entry["answer"] if is_seed else [str(one["answer"]) for one in entry["answers"]]
                if not answer:
                    raise ValueError("no answers")
                table.put(str(entry["question_id"]), json.dumps(answer))
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{task.annotations}: an entry without question_id and answers") from error
    return table


def _lines(task: Task, data: Path) -> Iterator[tuple[int, str]]:
    return enumerate(read_lines(data / task.samples))


def _questions(task: Task, data: Path) -> Iterator[Numbered]:
    for index, line in _lines(task, data):
        yield index, partial(_question, task, line, index)


def _question(task: Task, line: str, index: int) -> Sample:
    return question_sample(task, read_object(line), index)


def question_sample(task: Task, fields: Mapping[str, Any], index: int) -> Sample:
    """A line of image, question and, where it is public, the answer or several.

    Raises:
        MalformedError: a field is missing or of another kind.
    """
    question = text(fields, "question")
    return Sample(
        id=identity(fields, index),
        index=index,
        images=(text(fields, "image"),),
        prompt=task.prompt.format(question=question),
        question=question,
        target=texts(fields, "answer") if fields.get("answer") is not None else None,
    )


def _boxes(task: Task, data: Path) -> Iterator[Numbered]:
    def make(index: int, line: str) -> Sample:
        fields = read_object(line)
        sent, width, height = text(fields, "sent"), number(fields, "width"), number(fields, "height")
        target = {"box": box(fields, "bbox"), "width": width, "height": height}
        images = (text(fields, "image"),)
        # Lines have no names of their own: an id in them is the picture's or the object's, and several have it.
        return Sample(f"line {index + 1}", index, images, task.prompt.format(sent=sent), sent, target)

    for index, line in _lines(task, data):
        yield index, partial(make, index, line)


def _choices(task: Task, data: Path) -> Iterator[Numbered]:
    def make(index: int, line: str) -> Sample:
        fields = read_object(line)
        question, choices = text(fields, "question"), texts(fields, "choices")
        hint = fields.get("hint")
        hint = hint if isinstance(hint, str) and hint.strip() else "N/A"
        orders = rotations(choices) if task.circular else [tuple(choices)]
        try:
            asks = tuple(_ask(task, question, hint, order) for order in orders)
        except ValueError as error:
            raise MalformedError(str(error)) from error
        named = [f"{letter}. {one}" for letter, one in zip(letters(len(choices)), choices, strict=True)]
        shown = "\n".join([question, *named])
        target = None if fields.get("answer") is None else _choice(fields["answer"], choices)
        extra = {"choices": choices}
        return Sample(identity(fields, index), index, (text(fields, "image"),), asks[0][0], shown, target, asks, extra)

    for index, line in _lines(task, data):
        yield index, partial(make, index, line)


def _ask(task: Task, question: str, hint: str, choices: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    named = letters(len(choices))
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(named, choices, strict=True))
    prompt = task.prompt.format(question=question, hint=hint, options=listed)
    # What was taught without a blank before the answer is scored without.
    return prompt, tuple(choices) if task.whole_choices else tuple(f" {letter}" for letter in named)


def _choice(answer: Any, choices: Sequence[str]) -> str:
    """The letter of the right choice, which files give as a number from 0, a letter or the choice itself."""
    named = letters(len(choices))
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return named[answer]
    if isinstance(answer, str) and answer in named:
        return answer
    if isinstance(answer, str) and answer in choices:
        return named[choices.index(answer)]
    raise MalformedError(f"answer must be one of {len(choices)} choices, not {answer!r}")


def _prompts(task: Task, data: Path) -> Iterator[Numbered]:
    def make(index: int, line: str) -> Sample:
        fields = read_object(line)
        written = text(fields, "prompt")
        images = tuple(name.strip() for name in _IMAGE.findall(written))
        if not images:
            raise MalformedError("prompt has no <img>..</img>")
        prompt = _IMAGE.sub(PLACEHOLDER, written)
        asks = ((prompt, tuple(f" {letter}" for letter in letters(4))),)
        shown = prompt.replace(PLACEHOLDER, "").strip()
        return Sample(identity(fields, index), index, images, prompt, shown, fields.get("answer"), asks)

    for index, line in _lines(task, data):
        yield index, partial(make, index, line)


def _captions(task: Task, data: Path) -> Iterator[Numbered]:
    path = data / task.samples
    with DiskTable() as captions:
        for entry in read_elements(path, "annotations"):
            if isinstance(entry, dict) and isinstance(entry.get("caption"), str):
                key = str(entry.get("image_id"))
                captions.put(key, json.dumps([*json.loads(captions.get(key) or "[]"), entry["caption"]]))

        def make(index: int, fields: Any) -> Sample:
            if not isinstance(fields, dict) or fields.get("id") is None:
                raise MalformedError("an image without an id")
            key = str(fields["id"])
            if (written := captions.get(key)) is None:
                raise MalformedError(f"no caption of image {key}: is it of another split?", Flaw.UNANNOTATED)
            return Sample(key, index, (text(fields, "image"),), task.prompt, "", json.loads(written))

        for index, fields in enumerate(read_elements(path, "images")):
            yield index, partial(make, index, fields)


def _mme(task: Task, data: Path) -> Iterator[Numbered]:
    def make(index: int, line: str, subtask: str, place: int, folder: str) -> Sample:
        parts = line.rstrip("\r\n").split("\t")
        if len(parts) < 3 or parts[2].strip().lower() not in ("yes", "no"):
            raise MalformedError(f"{subtask}.txt: not image, question and Yes or No between tabs")
        image, question, truth = parts[:3]
        prompt = task.prompt.format(question=question)
        extra = {"subtask": subtask, "image": image}
        return Sample(f"{subtask} {place}", index, (f"{folder}/{image}",), prompt, question, truth.strip(), (), extra)

    index = 0
    for subtask in SUBTASKS:
        folder = f"mme/MME_Benchmark_release_version/{subtask}"
        # Some subtasks keep their pictures a level deeper.
        folder = f"{folder}/images" if (data / folder / "images").is_dir() else folder
        for place, line in enumerate(read_lines(data / task.samples / f"{subtask}.txt"), start=1):
            yield index, partial(make, index, line, subtask, place, folder)
            index += 1


def _touchstone(task: Task, data: Path) -> Iterator[Numbered]:
    rows = read_table(data / task.samples)
    header = next(rows, [])
    if missing := {"image", "question", *_TOUCHSTONE.values()} - set(header):
        raise UserError(f"{task.samples} has no column {', '.join(sorted(missing))}")

    def make(index: int, row: list[str]) -> Sample:
        if len(row) != len(header):
            raise MalformedError(f"{len(row)} fields in place of {len(header)}")
        fields = dict(zip(header, row, strict=True))
        prompt = task.prompt.format(question=fields["question"])
        extra = {name: fields[column] for name, column in _TOUCHSTONE.items()}
        return Sample(
            identity(fields, index), index, (_embedded(fields["image"]),), prompt, fields["question"], "", (), extra
        )

    for index, row in enumerate(rows):
        yield index, partial(make, index, row)


def _embedded(image: str) -> str:
    """A picture that stands in the table itself, as a data URL; a path as it is."""
    try:
        base64.b64decode(image, validate=True)
    except ValueError:
        return image
    return f"data:;base64,{image}" if len(image) > 64 else image


_READERS: Mapping[Layout, Callable[[Task, Path], Iterator[Numbered]]] = {
    Layout.QUESTIONS: _questions,
    Layout.BOXES: _boxes,
    Layout.CHOICES: _choices,
    Layout.PROMPTS: _prompts,
    Layout.CAPTIONS: _captions,
    Layout.MME: _mme,
    Layout.TOUCHSTONE: _touchstone,
}
