"""What the small model can do: questions about held-out scenes, and how many of its answers are right."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from qwenvl.demo.comparisons import ask_comparison
from qwenvl.demo.phrases import Language, Phrase, grounded, kind_of
from qwenvl.demo.questions import (
    ask_absent,
    ask_caption,
    ask_colour,
    ask_count,
    ask_reading,
    ask_region,
    ask_shape,
    none_of,
    where,
)
from qwenvl.demo.relations import ask_position, ask_relation, ask_size
from qwenvl.demo.scenes import SHAPES, WORDS, Box, Mix, Scene, Thing, random_scene
from qwenvl.demo.turns import Task, Turn

HELD_OUT_SEED = "held out"
"""Training seeds are numbers: no training scene comes from this one."""

# As it is taught, and not what qwenvl.grounding forgives: a score is strict.
_BOX = re.compile(r"<box>\((\d+),(\d+)\),\((\d+),(\d+)\)</box>")

SUMMARIES = {
    "grounding, one to five": re.compile(r"grounding, [1-5]"),
    "reading, two to four letters": re.compile(r"reading, [2-4] letters"),
    "all questions": re.compile(r".*"),
}
"""Rows of the table that sum up others: the rows each is of."""

_ASKERS = {
    Task.ABSENT: ask_absent,
    Task.REGION: ask_region,
    Task.COUNT: ask_count,
    Task.COLOUR: ask_colour,
    Task.SHAPE: ask_shape,
    Task.READING: ask_reading,
    Task.RELATION: ask_relation,
    Task.SIZE: ask_size,
    Task.POSITION: ask_position,
    Task.CAPTION: ask_caption,
}


@dataclass(frozen=True, slots=True)
class Probe:
    """One question, the pictures it is about, and the row of the table it counts in."""

    row: str
    scenes: tuple[Scene, ...]
    turn: Turn


def probes(count: int, seed: str = HELD_OUT_SEED) -> list[Probe]:
    """``count`` questions of every row of the table, by turns in English and Chinese."""
    rng = Random(seed)
    found: list[Probe] = []
    for objects in range(1, 6):
        found += _take(count, _grounding(rng, objects))
    for task in _ASKERS:
        found += _take(count, _plain(rng, task))
    found += _take(count, _comparing(rng))
    return found


def lesson_probes(shape: str, count: int, seed: str = HELD_OUT_SEED) -> list[Probe]:
    """Questions about a new shape: where it is among one to three objects, what it is, and where there is none."""
    rng = Random(f"{seed} {shape}")
    return [
        *_take(count, _finding_new(rng, shape)),
        *_take(count, _naming_new(rng, shape)),
        *_take(count, _missing_new(rng, shape)),
    ]


def _finding_new(rng: Random, shape: str) -> Iterator[Probe]:
    phrase = Phrase(shape, None)
    for language in _languages():
        scene = _scene_where(rng, Mix((shape, *SHAPES), 3, 0.0), lambda scene: len(phrase.find(scene)) == 1)
        (thing,) = phrase.find(scene)
        question = where(rng, phrase.say(language), language)
        turn = Turn(Task.GROUNDING, language, question, grounded(phrase.say(language), [thing]), (thing,))
        yield Probe(f"grounding, {shape}", (scene,), turn)


def _naming_new(rng: Random, shape: str) -> Iterator[Probe]:
    phrase = Phrase(shape, None)
    for language in _languages():
        scene = _scene_where(rng, Mix((shape,), 1, 0.0), lambda scene: len(phrase.find(scene)) == 1)
        turn = ask_shape(rng, scene, language)
        assert turn is not None
        yield Probe(f"shape, {shape}", (scene,), turn)


def _missing_new(rng: Random, shape: str) -> Iterator[Probe]:
    for language in _languages():
        phrase = Phrase(shape, None).say(language)
        turn = Turn(Task.ABSENT, language, where(rng, phrase, language), none_of(phrase, language))
        yield Probe(f"absent, {shape}", (random_scene(rng, Mix(SHAPES, 3, 0.0)),), turn)


def _scene_where(rng: Random, mix: Mix, fits: Callable[[Scene], bool]) -> Scene:
    while True:
        scene = random_scene(rng, mix)
        if fits(scene):
            return scene


def _take(count: int, stream: Iterator[Probe]) -> list[Probe]:
    return [next(stream) for _ in range(count)]


def _languages() -> Iterator[Language]:
    while True:
        yield from Language


def _grounding(rng: Random, objects: int) -> Iterator[Probe]:
    """Where one of so many objects is, named by shape and colour, by its shape or by its colour."""
    mix = Mix(most_objects=objects, words=0.0, repeats=0.3)
    languages = _languages()
    while True:
        scene = random_scene(rng, mix)
        if len(scene.things) != objects:
            continue
        thing = rng.choice(scene.things)
        phrases = [kind_of(thing), kind_of(thing), Phrase(thing.shape, None), Phrase(None, thing.colour)]
        phrases = [phrase for phrase in phrases if len(phrase.find(scene)) == 1]
        if not phrases:
            continue
        language = next(languages)
        named = rng.choice(phrases).say(language)
        turn = Turn(Task.GROUNDING, language, where(rng, named, language), grounded(named, [thing]), (thing,))
        yield Probe(f"grounding, {objects}", (scene,), turn)


def _plain(rng: Random, task: Task) -> Iterator[Probe]:
    languages = _languages()
    language = next(languages)
    mix = Mix(words=1.0) if task is Task.READING else Mix(words=0.15)
    while True:
        scene = random_scene(rng, mix)
        if task is Task.READING and len(scene.words) != 1:
            continue
        turn = _ASKERS[task](rng, scene, language)
        if turn is None:
            continue
        row = str(task)
        if task is Task.READING:
            text = scene.words[0].text
            kind = "digits" if text.isdigit() else "lexicon" if text in WORDS else f"{len(text)} letters"
            row = f"reading, {kind}"
        language = next(languages)
        yield Probe(row, (scene,), turn)


def _comparing(rng: Random) -> Iterator[Probe]:
    languages = _languages()
    mix = Mix(most_objects=4, words=0.1)
    while True:
        scenes = (random_scene(rng, mix), random_scene(rng, mix))
        yield Probe("comparison", scenes, ask_comparison(rng, scenes, next(languages)))


def boxes_in(answer: str) -> list[Box]:
    """Boxes of an answer as shares of the picture."""
    return [tuple(int(value) / 1000 for value in match.groups()) for match in _BOX.finditer(answer)]  # type: ignore[misc]


def overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    sizes = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return common / (sum(sizes) - common)


def score(found: Sequence[Probe], answers: Sequence[str]) -> dict[str, dict[str, float]]:
    """Share of right answers by row, in both languages and each; for grounding mean IoU and nearest object too.

    Below the rows of the questions stand those that sum up some of them: :data:`SUMMARIES`.
    """
    measures = [dict(_measures(probe, answer)) for probe, answer in zip(found, answers, strict=True)]
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for probe, of in zip(found, measures, strict=True):
        _count(values[probe.row], probe, of)
    for name, rows in SUMMARIES.items():
        for probe, of in zip(found, measures, strict=True):
            if rows.fullmatch(probe.row):
                # What only some of its questions have would pass for a mean of all.
                _count(values[name], probe, of if name.startswith("grounding") else {"right": of["right"]})
    return {
        row: {name: sum(v) / len(v) for name, v in of.items()} | {"n": len(of["right"])} for row, of in values.items()
    }


def _count(row: dict[str, list[float]], probe: Probe, measures: Mapping[str, float]) -> None:
    for measure, value in measures.items():
        row[measure].append(value)
        row[f"{measure} {probe.turn.language}"].append(value)


def _measures(probe: Probe, answer: str) -> Iterator[tuple[str, float]]:
    if probe.turn.task is not Task.GROUNDING:
        # A false box is one on something that is not there; one that is cut short is false too.
        right = "<box>" not in answer if probe.turn.task is Task.ABSENT else answer.strip() == probe.turn.answer
        yield "right", float(right)
        return
    target = probe.turn.targets[0]
    boxes = boxes_in(answer)
    iou = overlap(boxes[0], target.box) if boxes else 0.0
    yield "right", float(iou >= 0.5)
    yield "iou", iou
    yield "nearest", float(bool(boxes) and _nearest(boxes[0], probe.scenes[0]) is target)


def _nearest(box: Box, scene: Scene) -> Thing:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return min(scene.things, key=lambda thing: (thing.centre[0] - x) ** 2 + (thing.centre[1] - y) ** 2)


def table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown."""
    lines = ["| | n | right | English | Chinese | mean IoU | nearest |", "| --- | --: | --: | --: | --: | --: | --: |"]
    for row, of in scores.items():
        shares = [of.get(name) for name in ("right", "right en", "right zh", "iou", "nearest")]
        cells = [f"{100 * value:.1f}" if value is not None else "" for value in shares]
        lines.append(f"| {row} | {of['n']:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)
