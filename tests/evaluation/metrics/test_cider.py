import math
import shutil
import sys

import pytest

from qwenvl.errors import UserError
from qwenvl.evaluation.metrics.cider import cider, require_cider

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="the tokenizer is a Java program")


@needs_java
def test_captions_are_compared_by_their_rare_words():
    scores = cider(
        {"1": "A red circle.", "2": "something else entirely here", "3": ""},
        {
            "1": ["a red circle", "A red circle!"],
            "2": ["a blue square on the ground"],
            "3": ["two green stars in a row", "green stars"],
        },
    )
    # n-grams up to three words agree in full, there are none of four, and ten is the whole: 10 x 3 / 4, times 100.
    assert scores == {"1": pytest.approx(750.0), "2": 0.0, "3": 0.0}


@needs_java
def test_by_hand():
    # Unigrams alone, each in one of two pictures' references: idf is log 2 for every word. The prediction has one of
    # the reference's two words, at equal lengths: cosine 1/2.
    scores = cider({"1": "red dog", "2": "x"}, {"1": ["red cat"], "2": ["y"]})
    assert scores["1"] == pytest.approx(100 * 10 / 4 * 0.5)
    assert math.isclose(scores["2"], 0.0)


@needs_java
def test_references_without_a_word():
    assert cider({"1": "a"}, {"1": ["..."]}) == {"1": 0.0}


def test_nothing_to_score():
    assert cider({}, {}) == {}


def test_a_machine_without_java_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="Java runtime"):
        require_cider()


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider", None)
    with pytest.raises(UserError, match=r"qwenvl\[evaluate\]"):
        require_cider()


def test_a_java_that_does_not_run_is_told(monkeypatch, tmp_path):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(UserError, match="cannot be tokenised"):
        cider({"1": "a"}, {"1": ["a"]})
