import pytest

from qwenvl.evaluation.metrics.anls import anls, edit_distance
from qwenvl.evaluation.metrics.exact import exact_match, gqa_cleaned, gqa_match
from qwenvl.evaluation.metrics.relaxed import relaxed_accuracy


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("same", "same", 0)],
)
def test_edit_distance(first, second, distance):
    assert edit_distance(first, second) == edit_distance(second, first) == distance


@pytest.mark.parametrize(
    ("said", "answers", "score"),
    [
        ("Hello", ["hello"], 1.0),
        ("  hello   world ", ["hello world"], 1.0),
        ("abcd", ["abce"], 0.75),
        ("ab", ["ax"], 0.5),  # half right still counts
        ("abc", ["axy"], 0.0),
        ("abc", ["axy", "abx"], 2 / 3),
        ("abc ", ["abx"], 0.75),  # a blank that is folded away counts in the length
        ("a   b", ["a c"], 0.8),
        ("", [""], 1.0),
        ("", ["a"], 0.0),
    ],
)
def test_anls(said, answers, score):
    assert anls(said, answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("said", "answers", "right"),
    [
        ("100", ["105"], 1),
        ("100", ["105.1"], 0),
        ("105", ["100"], 1),
        ("95", ["100"], 0),  # 5 of 95 is more than 5 %: the share is of the model's number
        ("95.3", ["100"], 1),
        ("5%", ["0.05"], 1),
        ("5%", ["5"], 0),
        ("0", ["0"], 1),
        ("0", ["0.0"], 0),  # 0 falls to equality of texts
        ("0.0", ["0"], 0),
        ("Yes", ["yes"], 1),
        (" yes ", ["yes"], 1),
        ("yes", [" yes"], 0),  # the annotation is taken as it is
        ("-10", ["-10.4"], 1),
        ("-10", ["10"], 0),
        ("2019", ["No", "2020"], 1),
        ("1,000", ["1000"], 0),
        ("nan", ["nan"], 0),
        ("inf", ["1"], 0),
    ],
)
def test_relaxed_accuracy(said, answers, right):
    assert relaxed_accuracy(said, answers) == right


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Red.", "red"),
        ("It is red", "red"),
        ("They are dogs, I think", "dogs"),
        ("a dog", "dog"),
        ("an apple", "apple"),
        ("the top of the car", "top"),
        ("Yes! It is", "yes"),
        ("It is the left side of cars.", "left side"),
        ("It is the left side of a car.", "car"),  # what follows "a " is kept before what precedes " of"
        ("this is red", ""),  # "is " within "this " is the first place, and the next one ends it
        ("sofa bed", "bed"),  # as "a " is within "sofa "
        ("  No, there are none", "no"),
        ("", ""),
    ],
)
def test_the_clean_up_of_gqa(said, left):
    assert gqa_cleaned(said) == left


def test_exact_matches():
    assert exact_match(" The Book ", ["x", "the book"]) == 1
    assert exact_match("the book.", ["the book"]) == 0
    assert gqa_match("It is a Dog.", ["dog"]) == 1
