import json

import pytest

from qwenvl.evaluation.commands import evaluate
from qwenvl.evaluation.comparison import bootstrap, compare

TASK = "ocrvqa-test"


def results(folder, scores, **changed):
    folder.mkdir()
    lines = [
        {"index": i, "id": id, "images": ["x"], "question": "q", "prediction": "p", "target": ["t"], "score": score}
        for i, (id, score) in enumerate(scores.items())
    ]
    lines[0] |= changed
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / f"{TASK}.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_paired_differences(tmp_path, capsys):
    first = results(tmp_path / "a", {str(i): float(i < 50) for i in range(100)})
    second = results(tmp_path / "b", {str(i): float(i < 60) for i in range(100)})
    assert evaluate(["--compare", str(first), str(second)]) == 0
    assert f"| {TASK} | 100 | 50.00 | 60.00 | +10.00 | +5.00 to +16.00 | 10 | 0 |" in capsys.readouterr().out


def test_what_cannot_be_paired_is_told(tmp_path, capsys):
    first = results(tmp_path / "a", {"1": 1.0, "2": 0.0, "3": 0.0}, question="another")
    second = results(tmp_path / "b", {"1": 1.0, "2": 1.0, "4": 0.0})
    found = compare(TASK, first / f"{TASK}.jsonl", second / f"{TASK}.jsonl")
    assert (found.pairs, found.unpaired, found.unlike, found.wins, found.difference) == (1, 2, 1, 1, 100)
    assert evaluate(["--compare", str(first), str(second), TASK]) == 1
    assert "not compared whole: 2 samples" in capsys.readouterr().out


def test_samples_that_neither_run_has_a_score_of_are_missed(tmp_path, capsys):
    first = results(tmp_path / "a", {"1": 1.0, "2": None, "3": None})
    second = results(tmp_path / "b", {"1": 1.0, "2": None, "3": 0.0})
    assert evaluate(["--compare", str(first), str(first)]) == 1
    assert "2 have none" in capsys.readouterr().out
    assert not compare(TASK, second / f"{TASK}.jsonl", second / f"{TASK}.jsonl").is_whole


def test_the_interval_is_that_of_resampled_means():
    # 100 coins: the standard error of their mean is 0.05, and 1.96 of it to each side hold 95 %.
    low, high = bootstrap([0.0, 1.0] * 50)
    assert (low, high) == (pytest.approx(0.402, abs=0.012), pytest.approx(0.598, abs=0.012))
    assert bootstrap([2.0] * 10) == (2.0, 2.0)
