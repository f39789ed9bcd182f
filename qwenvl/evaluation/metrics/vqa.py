"""The score of VQAv2 and whoever took it over: agreement with ten people, after a normalisation with its own ways.

Source: EvalAI's script of the VQA challenge. Its oddities are kept, since published figures have them.
"""

import re
from collections.abc import Sequence

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_BETWEEN_DIGITS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_MOST_FULL_STOPS = 32
"""The script hands ``re.UNICODE``, which is 32, to where ``re.sub`` expects a count."""

_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBER_WORDS)}}
_ARTICLES = frozenset({"a", "an", "the"})

_ONE_APOSTROPHE = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't it'd
it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't somebody'll
somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd they'll
they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_MORE_APOSTROPHES = """
couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've
"""


def _contractions() -> dict[str, str]:
    found = {word.replace("'", ""): word for word in _ONE_APOSTROPHE.split()}
    for word in _MORE_APOSTROPHES.split():
        # Those that lack all of them are left as they are.
        for match in re.finditer("'", word):
            found[word[: match.start()] + word[match.end() :]] = word
    # The script has this one the wrong way round.
    return found | {"somebody'd": "somebodyd"}


CONTRACTIONS = _contractions()


def without_punctuation(text: str) -> str:
    """The script's punctuation step. What it looks for, it looks for in the whole text as it was."""
    has_comma = _COMMA_BETWEEN_DIGITS.search(text) is not None
    cleaned = text
    for mark in _PUNCTUATION:
        is_deleted = has_comma or f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if is_deleted else " ")
    return _FULL_STOP.sub("", cleaned, count=_MOST_FULL_STOPS)


def normalised(prediction: str) -> str:
    """What a model said, as it is compared with what people said."""
    text = without_punctuation(prediction.replace("\n", " ").replace("\t", " ").strip())
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_score(prediction: str, answers: Sequence[str]) -> float:
    """0 to 1: for each person, a third for every equal answer among the others', at most 1; and the mean of these."""
    said = normalised(prediction)
    heard = list(answers)
    if len(set(heard)) > 1:
        heard = [without_punctuation(answer) for answer in heard]
    equal = [answer == said for answer in heard]
    agreeing = sum(equal)
    return sum(min(1.0, (agreeing - is_equal) / 3) for is_equal in equal) / len(equal)
