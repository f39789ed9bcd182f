"""One answer's score, by its task's metric."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qwenvl.evaluation.metrics.anls import anls
from qwenvl.evaluation.metrics.exact import exact_match, gqa_match
from qwenvl.evaluation.metrics.iou import box_score
from qwenvl.evaluation.metrics.mme import mme_score
from qwenvl.evaluation.metrics.options import letters
from qwenvl.evaluation.metrics.relaxed import relaxed_accuracy
from qwenvl.evaluation.metrics.vqa import vqa_score
from qwenvl.evaluation.tasks.task import Metric, Task

_TEXTS: Mapping[Metric, Callable[[str, Sequence[str]], float]] = {
    Metric.VQA: vqa_score,
    Metric.EXACT: exact_match,
    Metric.GQA: gqa_match,
    Metric.ANLS: anls,
    Metric.RELAXED: relaxed_accuracy,
}


def score(task: Task, prediction: Any, target: Any) -> float | None:
    """0 to 1; None where there is nothing to compare with, or the metric needs all answers or a judge.

    Args:
        task: whose metric it is.
        prediction: what the model said; for options the letters chosen, one a rotation.
        target: as the task's samples have it.
    """
    if target is None or task.metric in (Metric.CIDER, Metric.JUDGE):
        return None
    if task.metric is Metric.IOU:
        return box_score(prediction, target["box"], target["width"], target["height"])
    if task.metric is Metric.MME:
        return mme_score(prediction, target)
    if task.metric is Metric.OPTIONS:
        return _circular(prediction, target)
    return _TEXTS[task.metric](prediction, target)


def _circular(chosen: Sequence[str | None], right: str) -> float:
    """1 where the right choice is found wherever the rotation has put it."""
    if len(chosen) == 1:
        return float(chosen[0] == right)
    named = letters(len(chosen))
    place = named.index(right)
    return float(all(letter == named[(place - turn) % len(chosen)] for turn, letter in enumerate(chosen)))
