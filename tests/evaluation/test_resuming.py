"""Killed, cut off, and asked again: the same results."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qwenvl.evaluation.results import Results, read_records
from qwenvl.evaluation.tasks.catalogue import TASKS
from tests.evaluation.layouts import picture, write_lines
from tests.evaluation.running import live, run
from tests.fake_engine import FakeEngine, model_info

TASK = "ocrvqa-test"
COUNT = 24


class HoldingEngine(FakeEngine):
    """Answers so many requests, and holds all later ones until it is released."""

    def __init__(self, answers: int) -> None:
        super().__init__(model_info(max_images=32))
        self._answers = answers

    async def generate(self, request):
        if len(self.requests) >= self._answers:
            self.hold()
        async for step in super().generate(request):
            yield step


def write_samples(data: Path) -> None:
    image = picture(data, "ocrvqa/1.png")
    lines = [{"image": image, "question": f"{i}?", "question_id": i, "answer": "yes"} for i in range(COUNT)]
    write_lines(data / TASKS[TASK].samples, lines)


def arguments(base_url: str, data: Path, output: Path) -> list[str]:
    options = ["--base-url", base_url, "--data", str(data), "--output", str(output), "--concurrency", "4"]
    return [TASK, *options]


def wait_for_lines(log: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Until the log has so many; fails where the run ends first."""
    for _ in range(600):
        if log.exists() and log.read_bytes().count(b"\n") >= count:
            return
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail("the run ended before it was killed")
    pytest.fail(f"no {count} answers within a minute")


def test_killed_in_the_middle_and_resumed_it_gives_the_file_of_an_undisturbed_run(tmp_path):
    data, killed, whole = tmp_path / "data", tmp_path / "killed", tmp_path / "whole"
    write_samples(data)
    holding = HoldingEngine(9)
    with live(holding) as base_url:
        command = [sys.executable, "-m", "qwenvl.cli", "evaluate", *arguments(base_url, data, killed)]
        process = subprocess.Popen(command, start_new_session=True)
        try:
            wait_for_lines(killed / f"{TASK}.log.jsonl", 5, process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(60)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / f"{TASK}.jsonl").exists()
    with (killed / f"{TASK}.log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"index": 20, "id": "20", "predi')
    before = {record["id"] for record in read_records(killed / f"{TASK}.log.jsonl")}
    engine = FakeEngine(model_info(max_images=32))
    with live(engine) as base_url:
        assert run(base_url, data, killed, TASK, "--concurrency", "4") == 0
        asked = len(engine.requests)
        assert run(base_url, data, whole, TASK, "--concurrency", "1") == 0
    assert asked == COUNT - len(before)
    resumed = (killed / f"{TASK}.jsonl").read_bytes()
    assert resumed == (whole / f"{TASK}.jsonl").read_bytes()
    assert [record["id"] for record in read_records(killed / f"{TASK}.jsonl")] == [str(i) for i in range(COUNT)]


def test_a_finished_run_asks_nothing_again(tmp_path):
    write_samples(tmp_path)
    engine = FakeEngine(model_info())
    with live(engine) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", TASK) == 0
        assert run(base_url, tmp_path, tmp_path / "out", TASK) == 0
        assert len(engine.requests) == COUNT
        assert run(base_url, tmp_path, tmp_path / "out", TASK, "--restart") == 0
    assert len(engine.requests) == 2 * COUNT


def test_results_of_other_settings_are_not_mixed(tmp_path, capsys):
    write_samples(tmp_path)
    with live(FakeEngine(model_info())) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", TASK, "--limit", "2") == 0
        assert run(base_url, tmp_path, tmp_path / "out", TASK, "--prompt-style", "chat") == 1
        assert "other settings" in capsys.readouterr().err
        # More of the same is the same.
        assert run(base_url, tmp_path, tmp_path / "out", TASK, "--limit", "4") == 0
    assert len(list(read_records(tmp_path / "out" / f"{TASK}.jsonl"))) == 4


def test_what_failed_is_asked_again_and_what_is_done_is_not(tmp_path):
    first = Results(tmp_path, "t", {})
    first.add({"index": 1, "id": "b", "flaw": "failed", "message": "no"})
    first.add({"index": 0, "id": "a", "prediction": "1", "score": 1.0})
    first.finish(lambda records: {})
    second = Results(tmp_path, "t", {})
    assert (second.is_done("a"), second.is_done("b"), second.done) == (True, False, 1)
    second.add({"index": 1, "id": "b", "prediction": "2", "score": 0.0})
    second.finish(lambda records: {"000000000001": 0.5})
    assert [(one["id"], one["score"]) for one in read_records(tmp_path / "t.jsonl")] == [("a", 1.0), ("b", 0.5)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.jsonl", "t.settings.json"]
    assert json.loads((tmp_path / "t.settings.json").read_text()) == {}


def test_a_log_that_was_cut_within_a_character_is_read(tmp_path):
    file = tmp_path / "log.jsonl"
    whole = json.dumps({"id": "1"}) + "\n"
    file.write_bytes((whole + '{"id": "猫').encode()[:-1])
    assert list(read_records(file)) == [{"id": "1"}]
