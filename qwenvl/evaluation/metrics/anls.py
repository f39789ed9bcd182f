"""Average normalised Levenshtein similarity, of DocVQA and InfographicsVQA."""

from collections.abc import Sequence

THRESHOLD = 0.5


def anls(prediction: str, answers: Sequence[str]) -> float:
    """0 to 1, by the answer that is nearest; what is less than half right counts nothing."""
    similarity = 1 - min(_distance(prediction, answer) for answer in answers)
    return 0.0 if similarity < THRESHOLD else similarity


def _distance(prediction: str, answer: str) -> float:
    # The official script measures the texts before it folds their blanks, and in capitals.
    length = max(len(prediction.upper()), len(answer.upper()))
    return edit_distance(_folded(prediction), _folded(answer)) / length if length else 0.0


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's: the fewest characters to insert, delete or replace."""
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(second, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]
