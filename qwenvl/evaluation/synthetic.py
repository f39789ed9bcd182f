"""Data of the small model's tasks, drawn in the layouts of the published ones."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from qwenvl.demo.drawing import draw
from qwenvl.demo.phrases import CHINESE_NAMES, Language, kind_of
from qwenvl.demo.questions import ask_caption, ask_colour, ask_count, ask_reading, ask_shape
from qwenvl.demo.relations import ask_position
from qwenvl.demo.scenes import COLOURS, SHAPES, Mix, Scene, random_scene
from qwenvl.demo.turns import Asker, Task, Turn

FOLDER = "shapes"
SIZE = 448
SEED = "evaluation"
"""Training seeds are numbers: no training scene comes from this one."""
TRAINING_SAMPLES = 64
CHOICES = 4

_ASKERS: tuple[Asker, ...] = (ask_count, ask_colour, ask_shape, ask_reading, ask_position)


def draw_tasks(data: Path, count: int) -> None:
    """Write so many samples of each of the small model's tasks. Equal counts give equal files."""
    (data / FOLDER / "pictures").mkdir(parents=True, exist_ok=True)
    _write_lines(data, "refexp", _refexp(data, count))
    _write_lines(data, "vqa", _questions(data, "vqa", count))
    _write_lines(data, "train", _questions(data, "train", TRAINING_SAMPLES))
    _write_lines(data, "choices", _choices(data, count))
    captions = list(_captions(data, count))
    images = [{"id": number, "image": image} for number, image, _ in captions]
    written = [{"image_id": number, "caption": caption} for number, _, caption in captions]
    document = {"images": images, "annotations": written}
    (data / FOLDER / "captions.json").write_text(json.dumps(document), encoding="utf-8")


def _write_lines(data: Path, name: str, lines: Iterator[Mapping[str, Any]]) -> None:
    with (data / FOLDER / f"{name}.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _picture(data: Path, scene: Scene, name: str) -> str:
    image = f"{FOLDER}/pictures/{name}.png"
    draw(scene, SIZE).save(data / image)
    return image


def _refexp(data: Path, count: int) -> Iterator[Mapping[str, Any]]:
    rng = Random(f"{SEED} refexp")
    written = 0
    while written < count:
        scene = random_scene(rng, Mix(words=0.0))
        thing = rng.choice(scene.shapes)
        phrase = kind_of(thing)
        if len(phrase.find(scene)) > 1:
            continue
        language = list(Language)[written % 2]
        image = _picture(data, scene, f"refexp-{written}")
        box = [round(value * SIZE, 2) for value in thing.box]
        yield {"image": image, "sent": phrase.say(language), "bbox": box, "height": SIZE, "width": SIZE}
        written += 1


def _turns(name: str) -> Iterator[tuple[Scene, Turn]]:
    rng = Random(f"{SEED} {name}")
    while True:
        for language in Language:
            scene = random_scene(rng, Mix())
            turn = rng.choice(_ASKERS)(rng, scene, language)
            if turn is not None:
                yield scene, turn


def _questions(data: Path, name: str, count: int) -> Iterator[Mapping[str, Any]]:
    for number, (scene, turn) in zip(range(count), _turns(name), strict=False):
        image = _picture(data, scene, f"{name}-{number}")
        yield {"image": image, "question": turn.question, "question_id": number, "answer": turn.answer}


def _choices(data: Path, count: int) -> Iterator[Mapping[str, Any]]:
    rng = Random(f"{SEED} choices")
    asked = (pair for pair in _turns("choice") if pair[1].task in (Task.COLOUR, Task.SHAPE))
    for number, (scene, turn) in zip(range(count), asked, strict=False):
        choices = [turn.answer, *_others(rng, turn)]
        rng.shuffle(choices)
        image = _picture(data, scene, f"choices-{number}")
        yield {"image": image, "hint": "", "question": turn.question, "choices": choices, "answer": turn.answer}


def _others(rng: Random, turn: Turn) -> list[str]:
    """Wrong answers in the form of the right one."""
    assert turn.seen is not None
    right = turn.seen.colour if turn.task is Task.COLOUR else turn.seen.shape
    names = [name for name in (COLOURS if turn.task is Task.COLOUR else SHAPES) if name != right]
    found = rng.sample(names, CHOICES - 1)
    if turn.language is Language.CHINESE:
        return [turn.answer.replace(CHINESE_NAMES[right], CHINESE_NAMES[name]) for name in found]
    if turn.task is Task.COLOUR:
        return [turn.answer.lower().replace(right, name).capitalize() for name in found]
    return [f"A {name}." for name in found]


def _captions(data: Path, count: int) -> Iterator[tuple[int, str, str]]:
    rng = Random(f"{SEED} captions")
    for number in range(count):
        scene = random_scene(rng, Mix())
        image = _picture(data, scene, f"captions-{number}")
        yield number, image, ask_caption(rng, scene, Language.ENGLISH).answer
