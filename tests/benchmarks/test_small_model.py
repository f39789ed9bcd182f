import json
from pathlib import Path

import pytest

from benchmarks import small_model
from tests.benchmarks.small_server import SmallServer, serving


def test_questions_are_asked_and_answers_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "scores.json"
    server = SmallServer()
    with serving(server) as url:
        options = ["--base-url", url, "--api-key", "mine", "--count", "2", "--output", str(output)]
        assert small_model.main(options) == 0
    assert server.authorization == {"Bearer mine"}
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["scores"]["grounding, 3"] == {
        **dict.fromkeys(("right", "right en", "right zh", "iou", "iou en", "iou zh"), 0.0),
        **dict.fromkeys(("nearest", "nearest en", "nearest zh"), 0.0),
        "n": 2,
    }
    assert "| grounding, 3 | 2 | 0.0 |" in capsys.readouterr().out
    pictures = [[part["type"] for part in body["messages"][0]["content"]] for body in server.bodies]
    assert ["image_url", "image_url", "text"] in pictures
    assert all(body["temperature"] == 0 for body in server.bodies)


def test_a_server_that_refuses_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(SmallServer(fails=frozenset({3}))) as url:
        assert small_model.main(["--base-url", url, "--count", "1", "--shape", "moon"]) == 1
    assert "429" in capsys.readouterr().err
