import pytest

from qwenvl.evaluation.metrics.mme import Judged, mme_score, mme_scores, yes_or_no
from qwenvl.evaluation.metrics.options import chosen_letter, letters, likeliest, rotations


@pytest.mark.parametrize(
    ("answer", "word"),
    [("Yes, it is.", "yes"), ("no", "no"), (" NO.", "no"), ("Maybe yes", "other"), ("", "other"), ("Not", "no")],
)
def test_yes_or_no(answer, word):
    assert yes_or_no(answer) == word


def test_a_subtask_counts_questions_and_pictures():
    judged = [
        Judged("count", "1.jpg", is_right=True),
        Judged("count", "1.jpg", is_right=True),
        Judged("count", "2.jpg", is_right=True),
        Judged("count", "2.jpg", is_right=False),
        Judged("code_reasoning", "1.jpg", is_right=True),
        Judged("code_reasoning", "1.jpg", is_right=True),
    ]
    scores = mme_scores(judged)
    assert scores == {"count": 125.0, "code_reasoning": 200.0, "perception": 125.0, "cognition": 200.0}
    assert mme_score("Yes", "Yes") == 1
    assert mme_score("other", "No") == 0


def test_options():
    assert letters(3) == ("A", "B", "C")
    assert likeliest([-3.0, -1.0, -1.0]) == 1
    assert rotations("ABC") == [("A", "B", "C"), ("B", "C", "A"), ("C", "A", "B")]
    with pytest.raises(ValueError, match="1 to 26"):
        letters(27)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("B", "B"), (" B. red", "B"), ("(C) x", "C"), ("D", None), ("Apple", None), ("", None), ("b", None)],
)
def test_a_written_choice(answer, letter):
    assert chosen_letter(answer, 3) == letter
