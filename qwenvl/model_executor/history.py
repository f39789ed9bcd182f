"""What was said so far, as the original's methods take and return it."""

from collections.abc import Sequence
from typing import Any

from qwenvl.errors import UserError

History = Sequence[tuple[str, str]]
"""Past queries and answers, oldest first."""


def turns_of(history: Any) -> list[tuple[str, str]]:
    """The queries and answers of a history, checked; none of None.

    Raises:
        UserError: it is no list of pairs of texts; the message names the turn.
    """
    if history is None:
        return []
    if not isinstance(history, list | tuple):
        raise UserError("history must be a list of queries and their answers", param="history")
    turns: list[tuple[str, str]] = []
    for i, turn in enumerate(history):
        is_pair = isinstance(turn, list | tuple) and len(turn) == 2
        if not is_pair or not all(isinstance(text, str) for text in turn):
            raise UserError(f"history[{i}] must be a query and its answer, two texts", param="history")
        turns.append((turn[0], turn[1]))
    return turns
