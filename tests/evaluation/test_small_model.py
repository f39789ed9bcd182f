"""The whole path for real: the built-in model, served for the run, on its own tasks."""

import json

import pytest

from qwenvl.evaluation.commands import evaluate
from qwenvl.evaluation.serving import serving
from tests.evaluation.running import run

pytestmark = pytest.mark.slow

COUNT = 24
# Of 100 samples each the model has 97, 90 and 99; by chance it has next to nothing, and 25 of the choices.
LEAST = {"shapes-refexp": 75, "shapes-vqa": 65, "shapes-choice": 75}


def test_the_built_in_model_is_measured_and_compared(tmp_path, capsys):
    data = tmp_path / "data"
    assert evaluate(["--draw", str(COUNT), "--data", str(data)]) == 0
    with serving(None, tmp_path / "server.log") as base_url:
        assert run(base_url, data, tmp_path / "raw", *LEAST, "shapes-caption") == 0
        assert run(base_url, data, tmp_path / "again", "shapes-vqa", "--concurrency", "3") == 0
        assert run(base_url, data, tmp_path / "chat", "shapes-vqa", "--prompt-style", "chat") == 0
        assert run(base_url, data, tmp_path / "shots", "shapes-vqa", "--shots", "1", "--limit", "4") == 0
    for name, least in LEAST.items():
        summary = json.loads((tmp_path / "raw" / f"{name}.summary.json").read_text(encoding="utf-8"))
        assert summary["complete"]
        assert summary["score"] > least, summary
        assert summary["settings"]["model"] == "qwenvl-small"
    capsys.readouterr()
    assert evaluate(["--compare", str(tmp_path / "raw"), str(tmp_path / "chat")]) == 0
    assert f"| shapes-vqa | {COUNT} |" in capsys.readouterr().out
    assert evaluate(["--report", "--data", str(data), "--output", str(tmp_path / "raw")]) == 0
    assert "Shapes: where is it" in (tmp_path / "raw" / "report.html").read_text(encoding="utf-8")


def test_a_checkpoint_that_cannot_be_served_is_told(tmp_path, capsys):
    options = ["--data", str(tmp_path), "--output", str(tmp_path / "out"), "--checkpoint", str(tmp_path / "nothing")]
    assert evaluate(["gqa", *options]) == 1
    assert "qwenvl serve ended with code" in capsys.readouterr().err
