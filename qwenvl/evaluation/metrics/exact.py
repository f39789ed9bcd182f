"""Exact match, and the clean-up that GQA's answers get before."""

from collections.abc import Sequence

_OPENINGS = ("is ", "are ", "a ", "an ", "the ")


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 or 0, best over the answers; case and outer blanks do not count."""
    return float(any(prediction.strip().lower() == answer.strip().lower() for answer in answers))


def gqa_cleaned(prediction: str) -> str:
    """The word or two that a sentence comes down to."""
    text = prediction.strip().split(".")[0].split(",")[0].split("!")[0].lower()
    for opening in _OPENINGS:
        # Found within words too, and up to its next place: "this is red" leaves nothing. So it was measured.
        if opening in text:
            text = text.split(opening)[1]
    return text.split(" of")[0].strip()


def gqa_match(prediction: str, answers: Sequence[str]) -> float:
    """:func:`exact_match` of what the clean-up leaves."""
    return exact_match(gqa_cleaned(prediction), answers)
