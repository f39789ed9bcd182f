"""A question about a scene and its right answer."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from qwenvl.demo.phrases import Language
from qwenvl.demo.scenes import Scene, Thing


class Task(StrEnum):
    CAPTION = "caption"
    GROUNDED_CAPTION = "grounded caption"
    GROUNDING = "grounding"
    ABSENT = "absent"
    REGION = "region"
    COUNT = "count"
    COLOUR = "colour"
    SHAPE = "shape"
    READING = "reading"
    RELATION = "relation"
    POSITION = "position"
    SIZE = "size"
    COMPARISON = "comparison"


@dataclass(frozen=True, slots=True)
class Turn:
    """A question, its answer, and what the answer is about.

    Attributes:
        targets: the objects whose boxes the question or the answer gives, in its order.
        seen: the one object that the answer is read off, where it names no box.
    """

    task: Task
    language: Language
    question: str
    answer: str
    targets: tuple[Thing, ...] = ()
    seen: Thing | None = None


Asker = Callable[[Random, Scene, Language], Turn | None]
"""Makes a turn about a scene, or None where the scene does not allow such a question."""
