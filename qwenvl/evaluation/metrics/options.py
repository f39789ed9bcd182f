"""Multiple choice by log-likelihood, and its circular form."""

from collections.abc import Sequence
from string import ascii_uppercase


def letters(count: int) -> tuple[str, ...]:
    """The letters of so many options.

    Raises:
        ValueError: the alphabet has no so many.
    """
    if not 1 <= count <= len(ascii_uppercase):
        raise ValueError(f"a question has 1 to {len(ascii_uppercase)} options, not {count}")
    return tuple(ascii_uppercase[:count])


def likeliest(likelihoods: Sequence[float]) -> int:
    """The index of the highest; of equal ones the first."""
    return max(range(len(likelihoods)), key=likelihoods.__getitem__)


def rotations(choices: Sequence[str]) -> list[tuple[str, ...]]:
    """The choices in every circular order, beginning with their own."""
    return [(*choices[start:], *choices[:start]) for start in range(len(choices))]


def chosen_letter(answer: str, count: int) -> str | None:
    """The option that a written answer begins with (``B``, ``B.``, ``(B) ..``); None where it does not."""
    opening = answer.strip().lstrip("(").strip()
    letter, after = opening[:1], opening[1:2]
    return letter if letter and letter in letters(count) and not after.isalnum() else None
