"""Boxes of referring expressions: the first one of an answer, and how far it covers the one that was meant."""

import re
from collections.abc import Sequence

import numpy as np

THRESHOLD = 0.5
SCALE = 999
"""What the original divides coordinates by here, though it writes them in thousandths."""

_CORNERS = re.compile(r"\((.*?)\),\((.*?)\)")

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""


def predicted_box(answer: str, width: float, height: float) -> Box | None:
    """The first pair of corners of an answer, in pixels; None where there is none, or not of two numbers each.

    Single precision, as the original's tensors: a share of exactly a half would else fall to the other side.
    """
    found = _CORNERS.search(answer)
    if found is None:
        return None
    try:
        (x1, y1), (x2, y2) = ([float(number) for number in corner.split(",")] for corner in found.groups())
    except ValueError:
        return None
    # A model may write a number of any length.
    with np.errstate(all="ignore"):
        shares = np.array([x1, y1, x2, y2], np.float32) / np.float32(SCALE)
        left, top, right, bottom = (float(value) for value in shares * np.array([width, height] * 2, np.float32))
    return left, top, right, bottom


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union; 0 where they are apart, or corners are swapped."""
    a, b = np.array(first, np.float32), np.array(second, np.float32)
    with np.errstate(all="ignore"):
        width, height = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
        common = width * height
        union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common
        return float(common / union) if union != 0 else 0.0


def box_score(answer: str, box: Sequence[float], width: float, height: float) -> float:
    """1 where the answer's box and the one that is meant have half of their union in common, else 0."""
    found = predicted_box(answer, width, height)
    return float(found is not None and iou(found, box) >= THRESHOLD)
