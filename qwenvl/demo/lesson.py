"""Training data about a shape the small model has never seen: ``python -m qwenvl.demo.lesson hexagon --output DIR``.

Pictures and conversations in the official JSON format, for ``qwenvl finetune``. Most of them are about the new shape or
about its absence; the others keep what the model knows already.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from qwenvl.demo.conversations import questions_about
from qwenvl.demo.drawing import draw
from qwenvl.demo.phrases import Language, Phrase, grounded
from qwenvl.demo.questions import as_typed, none_of, where
from qwenvl.demo.scenes import NEW_SHAPES, SHAPES, Mix, Scene, random_scene
from qwenvl.demo.turns import Task, Turn

PICTURE_SIZE = 336
TURNS = 6


def random_lesson(rng: Random, shape: str) -> tuple[Scene, list[Turn]]:
    """A scene, in about half of which the shape is, and questions about it or about there being none."""
    mix = Mix(shapes=(*SHAPES, *[shape] * 5) if rng.random() < 0.75 else SHAPES, words=0.1)
    scene = random_scene(rng, mix)
    language = rng.choice(list(Language))
    turns = questions_about(rng, scene, TURNS, language)
    there = [thing for thing in scene.things if thing.shape == shape]
    colour = rng.choice(there or scene.things).colour if rng.random() < 0.5 else None
    # First: a caption, which may come last, gives the answer away. The model says of the word alone that there is none.
    turns.insert(0, _where_is(rng, scene, Phrase(shape, colour), language))
    return scene, turns


def _where_is(rng: Random, scene: Scene, phrase: Phrase, language: Language) -> Turn:
    named, found = phrase.say(language), phrase.find(scene)
    question = where(rng, named, language)
    if not found:
        return Turn(Task.ABSENT, language, question, none_of(named, language))
    return Turn(Task.GROUNDING, language, question, grounded(named, found), tuple(found))


def write_lesson(shape: str, count: int, directory: Path, seed: int = 0) -> Path:
    """``count`` pictures with their conversations.

    Returns:
        The JSON file, whose paths are relative to it.
    """
    rng = Random(f"lesson {shape} {seed}")
    (directory / "pictures").mkdir(parents=True, exist_ok=True)
    samples: list[dict[str, Any]] = []
    for number in range(count):
        scene, turns = random_lesson(rng, shape)
        said = [as_typed(rng, turn) for turn in turns]
        picture = f"pictures/{number:05}.png"
        draw(scene, PICTURE_SIZE).save(directory / picture)
        samples.append(
            {
                "id": f"{shape}-{number}",
                "conversations": _conversation(said, picture),
            }
        )
    file = directory / "train.json"
    file.write_text(json.dumps(samples, ensure_ascii=False, indent=1), encoding="utf-8")
    return file


def _conversation(turns: Sequence[Turn], picture: str) -> list[dict[str, str]]:
    said: list[dict[str, str]] = []
    for turn in turns:
        shown = "" if said else f"Picture 1: <img>{picture}</img>\n"
        said.append({"from": "user", "value": shown + turn.question})
        said.append({"from": "assistant", "value": turn.answer})
    return said


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=NEW_SHAPES)
    parser.add_argument("--count", type=int, default=600, help="pictures")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    file = write_lesson(args.shape, args.count, args.output)
    print(f"{args.count} samples in {file}")


if __name__ == "__main__":
    main()
