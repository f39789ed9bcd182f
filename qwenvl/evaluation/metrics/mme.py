"""MME: yes or no, two questions a picture. A subtask's score is accuracy plus accuracy+, in per cent, 200 at most."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
SUBTASKS = (*PERCEPTION, *COGNITION)


@dataclass(frozen=True, slots=True)
class Judged:
    """One question: its subtask, its picture, and whether it was answered right."""

    subtask: str
    image: str
    is_right: bool


def yes_or_no(answer: str) -> str:
    """What an answer comes to by its first four letters, as the official tool reads it: yes, no or other."""
    opening = answer.strip().lower()[:4]
    return next((word for word in ("yes", "no") if word in opening), "other")


def mme_score(answer: str, truth: str) -> float:
    """1 or 0 for one question."""
    return float(yes_or_no(answer) == truth.strip().lower())


def mme_scores(judged: Iterable[Judged]) -> dict[str, float]:
    """The score of each subtask that was asked, and the sums ``perception`` and ``cognition``."""
    rights: dict[str, dict[str, list[bool]]] = {}
    for question in judged:
        rights.setdefault(question.subtask, {}).setdefault(question.image, []).append(question.is_right)
    scores = {subtask: _subtask_score(images) for subtask, images in rights.items()}
    parts = {"perception": PERCEPTION, "cognition": COGNITION}
    return scores | {name: sum(scores.get(subtask, 0.0) for subtask in part) for name, part in parts.items()}


def _subtask_score(images: Mapping[str, list[bool]]) -> float:
    questions = [is_right for of_image in images.values() for is_right in of_image]
    accuracy = sum(questions) / len(questions)
    accuracy_plus = sum(all(of_image) for of_image in images.values()) / len(images)
    return 100 * (accuracy + accuracy_plus)
