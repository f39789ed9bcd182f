"""Each task on samples in its official layout, through a live server, end to end."""

import json
import shutil

import pytest

from qwenvl.evaluation.checking import check
from qwenvl.evaluation.commands import evaluate
from qwenvl.evaluation.tasks.catalogue import TASKS
from qwenvl.evaluation.tasks.task import Metric
from tests.evaluation.layouts import write_task
from tests.evaluation.running import live, run, scripted

ANSWERS = {Metric.IOU: "(0,0),(999,999)</box>", Metric.JUDGE: "7 5\nSince it is so.", Metric.CIDER: "a red picture 0"}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_runs_end_to_end(name, tmp_path, capsys):
    task = TASKS[name]
    if task.metric is Metric.CIDER and shutil.which("java") is None:
        pytest.skip("captions are tokenised by a Java program")
    data, output = tmp_path / "data", tmp_path / "out"
    count = write_task(task, data)
    with live(scripted(ANSWERS.get(task.metric, "yes"))) as base_url:
        judged = ("--judge-base-url", base_url) if task.metric is Metric.JUDGE else ()
        assert run(base_url, data, output, name, *judged) == 0, capsys.readouterr()
    summary = json.loads((output / f"{name}.summary.json").read_text(encoding="utf-8"))
    records = [json.loads(line) for line in (output / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert summary["complete"]
    assert (summary["covered"], summary["of"], len(records)) == (count, count, count)
    assert [record["index"] for record in records] == list(range(count))
    assert summary["published"] == dict(task.published)
    assert not (output / f"{name}.log.jsonl").exists()
    has_answers = records[0]["target"] is not None
    assert (summary["score"] is not None) == has_answers
    if task.metric in (Metric.VQA, Metric.GQA, Metric.EXACT, Metric.ANLS, Metric.RELAXED) and has_answers:
        assert summary["score"] == 100
    if task.metric is Metric.IOU:
        assert summary["score"] == pytest.approx(100 / 3)
    if task.metric is Metric.MME:
        assert summary["groups"]["perception"] == 500
        assert summary["groups"]["cognition"] == 200
        assert summary["score"] == 700
    if task.metric is Metric.JUDGE:
        # 5 as the second answer, 7 as the first one.
        assert summary["score"] == 600
        assert summary["groups"] == {"basic": 600, "reasoning": 600}
    if task.metric is Metric.CIDER:
        assert 0 < summary["score"] < 1000
        assert records[0]["score"] > records[2]["score"]
    assert list(output.glob(f"{name}.submission*")) != [] if task.submission else True


@pytest.mark.parametrize("name", TASKS)
def test_files_in_the_official_layout_are_found_sound(name, tmp_path):
    count = write_task(TASKS[name], tmp_path)
    found = check(TASKS[name], tmp_path)
    assert (found.samples, found.named) == (count, [])


def test_the_list_says_where_files_go(capsys):
    assert evaluate(["--list"]) == 0
    listed = capsys.readouterr().out
    for task in TASKS.values():
        assert f"{task.name}: {task.title}" in listed
        assert all(f"DIR/{name}" in listed for name in task.files)
