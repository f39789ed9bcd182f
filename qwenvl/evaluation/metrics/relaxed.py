"""Relaxed accuracy, of ChartQA: numbers may be five per cent off."""

from collections.abc import Sequence

TOLERANCE = 0.05


def relaxed_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """1 or 0, best over the answers. The tolerance is a share of the model's number, as in the original's call."""
    said = prediction.strip()
    return float(any(_is_near(said, answer) for answer in answers))


def _is_near(target: str, other: str) -> bool:
    target_number, other_number = _number(target), _number(other)
    # A target of 0 has no share to be within.
    if other_number is not None and target_number:
        return abs(other_number - target_number) / abs(target_number) <= TOLERANCE
    return other.lower() == target.lower()


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
