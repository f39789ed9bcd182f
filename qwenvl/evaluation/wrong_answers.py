"""Answers that were wrong, with their pictures and boxes, for people to look at."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path

import PIL.Image
import PIL.ImageDraw

from qwenvl.errors import ImageError
from qwenvl.evaluation.metrics.iou import Box, predicted_box
from qwenvl.evaluation.pictures import open_sample_picture
from qwenvl.evaluation.results import Record, is_answered, read_records
from qwenvl.evaluation.tasks.catalogue import TASKS
from qwenvl.evaluation.tasks.task import Metric

MOST = 24
"""Shown of each task: those with the lowest scores, in the order of the input."""
_SIDE = 320
_MEANT, _FOUND = (20, 160, 60), (220, 40, 40)
_RIGHT = {Metric.CIDER: 100.0, Metric.JUDGE: 10.0}
"""Scores from which an answer counts as right; 1 where nothing is said."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A sample as a page shows it; ``pictures`` are data URLs."""

    id: str
    question: str
    prediction: str
    target: str
    score: float
    pictures: tuple[str, ...]


def wrong_answers(task: str, results: Path, data: Path | None) -> Iterator[Wrong]:
    """The lowest scores of a file of results; without a data directory, no pictures."""
    right = _RIGHT.get(TASKS[task].metric, 1.0)
    wrong = (
        record
        for record in read_records(results)
        if is_answered(record) and record["score"] is not None and record["score"] < right
    )
    for record in sorted(nsmallest(MOST, wrong, key=lambda record: record["score"]), key=lambda one: int(one["index"])):
        pictures = _pictures(task, record, data) if data is not None else ()
        yield Wrong(
            record["id"],
            record["question"],
            _shown(record["prediction"]),
            _shown(record["target"]),
            record["score"],
            tuple(pictures),
        )


def _shown(value: object) -> str:
    if isinstance(value, dict) and "box" in value:
        return f"box {value['box']}"
    return " / ".join(str(one) for one in value) if isinstance(value, list) else str(value)


def _pictures(task: str, record: Record, data: Path) -> Iterator[str]:
    for name in record["images"]:
        try:
            picture = open_sample_picture(name, data)
        except ImageError:
            # The data may have moved since the run; the answer is shown all the same.
            continue
        if TASKS[task].metric is Metric.IOU:
            _draw_boxes(picture, record)
        yield _packed(picture)


def _draw_boxes(picture: PIL.Image.Image, record: Record) -> None:
    pen = PIL.ImageDraw.Draw(picture)
    target = record["target"]
    found = predicted_box(record["prediction"], target["width"], target["height"])
    width = max(2, max(picture.size) // 150)
    scale = (picture.width / target["width"], picture.height / target["height"])
    for box, colour in ((target["box"], _MEANT), (found, _FOUND)):
        if box is not None and (corners := _ordered(box, scale)):
            pen.rectangle(corners, outline=colour, width=width)


def _ordered(box: Box, scale: tuple[float, float]) -> tuple[float, float, float, float] | None:
    """Corners in pixels of the picture, and in order, which Pillow asks for; None for what is no place."""
    xs = sorted((box[0] * scale[0], box[2] * scale[0]))
    ys = sorted((box[1] * scale[1], box[3] * scale[1]))
    corners = (xs[0], ys[0], xs[1], ys[1])
    return corners if all(abs(value) < 1e6 for value in corners) else None


def _packed(picture: PIL.Image.Image) -> str:
    picture.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
