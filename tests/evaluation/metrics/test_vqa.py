import pytest

from qwenvl.evaluation.metrics.vqa import normalised, vqa_score, without_punctuation


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a-b", "a b"),  # no blank beside it: replaced
        ("a- b", "a b"),  # deleted, since it stands next to a blank
        ("a- b c-d", "a b cd"),  # and so everywhere else in the text
        ("c-d -e", "cd e"),
        ("yes!", "yes "),
        ("1,000 x-y", "1000 xy"),  # a comma between digits: every mark is deleted
        ("1,a x-y", "1 a x y"),
        ("what?no, yes", "what no yes"),
        ("3.5", "3.5"),
        ("end.", "end"),
        ("a.b.", "ab"),
        (".5", ".5"),
        ("it's", "it's"),
        ("a:b", "a:b"),  # no mark of the script's
        ("5%", "5%"),
        (r"a\b|c", "a b|c"),
        ('"q"', " q "),
    ],
)
def test_the_punctuation_step(text, left):
    assert without_punctuation(text) == left


def test_only_the_first_thirty_two_full_stops_go():
    assert without_punctuation("." * 40 + "a") == "." * 8 + "a"
    assert without_punctuation("." * 32 + "1") == ".1"


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("The Dog", "dog"),
        ("an apple a day", "apple day"),
        ("None", "0"),
        ("zero", "0"),
        ("ten of nine", "10 of 9"),
        ("eleven", "eleven"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldnt've couldn'tve", "couldn't've couldn't've"),
        ("somebody'd", "somebodyd"),
        ("ow's'at", "'ow's'at"),
        ("y'allll", "y'all'll"),
        ("im ive", "im ive"),  # the script has these in capitals, and compares small letters
        ("wed shed hell", "wed shed hell"),
        ("two\nred\tcars ", "2 red cars"),
        ("a.m.", "am"),
        ("one-two", "1 2"),
        ("the", ""),
        ("", ""),
    ],
)
def test_a_prediction_normalised(said, left):
    assert normalised(said) == left


@pytest.mark.parametrize(
    ("said", "answers", "score"),
    [
        ("yes", ["yes"] * 10, 1.0),
        ("Yes.", ["yes"] * 10, 1.0),
        ("no", ["yes"] * 10, 0.0),
        ("red", ["red"] * 1 + ["blue"] * 9, 0.3),  # nine others see one: 9 x 1/3; the one sees none
        ("red", ["red"] * 2 + ["blue"] * 8, 0.6),
        ("red", ["red"] * 3 + ["blue"] * 7, 0.9),
        ("red", ["red"] * 4 + ["blue"] * 6, 1.0),
        ("two", ["two"] * 10, 0.0),  # people's words stay words
        ("two", ["2"] * 10, 1.0),
        ("the dog", ["the dog"] * 10, 0.0),  # and keep their articles
        ("x-y", ["x-y"] * 10, 0.0),  # all equal: they do not even get the punctuation step
        ("x-y", ["x-y"] * 9 + ["c"], 1.0),
        ("red", ["Red"] * 9 + ["blue"], 0.0),  # nor small letters
    ],
)
def test_agreement_with_ten(said, answers, score):
    assert vqa_score(said, answers) == pytest.approx(score)
