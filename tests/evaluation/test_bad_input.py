"""What is wrong is counted and named, and no score over the rest passes for the whole."""

import json

import pytest

from qwenvl.evaluation.commands import evaluate
from qwenvl.evaluation.tasks.catalogue import TASKS
from qwenvl.evaluation.tasks.task import Task
from tests.api.serve_fake import SteeredEngine
from tests.evaluation.layouts import picture, questions, write_json, write_lines, write_task
from tests.evaluation.running import live, run, scripted

TASK = "ocrvqa-test"


def summary_of(output, task=TASK):
    return json.loads((output / f"{task}.summary.json").read_text(encoding="utf-8"))


def good_lines(task: Task, data):
    return [line | {"answer": "yes"} for line in questions(task, data)]


def test_flawed_lines_are_counted_and_the_score_is_not_the_whole(tmp_path, capsys):
    lines = good_lines(TASKS[TASK], tmp_path)
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    write_lines(
        tmp_path / TASKS[TASK].samples,
        [
            *lines,
            lines[0],
            "{not json",
            "[]",
            json.dumps({"image": "x.png"}),
            '{"image": "x.png", "question": "half \\ud800", "question_id": 5}',
            lines[0] | {"question_id": 900, "image": "nowhere.png"},
            lines[0] | {"question_id": 901, "image": "damaged.png"},
            lines[0] | {"question_id": 902, "answer": [True]},
        ],
    )
    with live(scripted("yes")) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", TASK) == 1
    summary = summary_of(tmp_path / "out")
    assert summary["flaws"] == {"duplicate": 1, "malformed": 5, "image": 2}
    assert (summary["score"], summary["score_of_covered"]) == (None, 100)
    assert (summary["covered"], summary["of"], summary["complete"]) == (3, 10, False)
    said = capsys.readouterr().out
    assert "3 of 10 samples (INCOMPLETE" in said
    assert "nowhere.png" in said
    assert "damaged.png" in said
    assert evaluate([TASK, "--check", "--data", str(tmp_path)]) == 1
    assert "1 duplicate, 5 malformed, 1 image" in capsys.readouterr().out


def test_lines_without_an_answer_make_no_whole(tmp_path, capsys):
    lines = good_lines(TASKS[TASK], tmp_path)
    write_lines(tmp_path / TASKS[TASK].samples, [lines[0], *(line | {"answer": None} for line in lines[1:])])
    with live(scripted("yes")) as base_url:
        run(base_url, tmp_path, tmp_path / "out", TASK)
    summary = summary_of(tmp_path / "out")
    assert (summary["score"], summary["complete"]) == (None, False)
    assert "INCOMPLETE" in capsys.readouterr().out


def test_a_duplicate_takes_nothing_from_the_whole(tmp_path):
    lines = good_lines(TASKS[TASK], tmp_path)
    write_lines(tmp_path / TASKS[TASK].samples, [*lines, lines[1]])
    with live(scripted("yes")) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", TASK) == 0
    summary = summary_of(tmp_path / "out")
    assert (summary["score"], summary["flaws"]) == (100, {"duplicate": 1})


def test_annotations_of_another_split_are_told(tmp_path, capsys):
    task = TASKS["vqav2-val"]
    write_task(task, tmp_path)
    people = [{"answer": "yes"}] * 10
    other = [{"question_id": n, "answers": people} for n in (100, 7001, 7002, 7003)]
    write_json(tmp_path / task.annotations, {"annotations": other})
    engine = scripted("yes")
    with live(engine) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", task.name) == 1
    summary = summary_of(tmp_path / "out", task.name)
    assert summary["flaws"] == {"not annotated": 2}
    assert (summary["covered"], summary["of"], summary["score"]) == (1, 4, None)
    assert len(engine.requests) == 1
    assert "another split" in capsys.readouterr().out
    write_json(tmp_path / task.annotations, {"questions": []})
    assert evaluate([task.name, "--check", "--data", str(tmp_path)]) == 1
    assert "has no array 'annotations'" in capsys.readouterr().out


def test_an_input_file_that_was_cut_short_is_no_whole(tmp_path):
    task = TASKS["vqav2-val"]
    write_task(task, tmp_path)
    path = tmp_path / task.samples
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:2]), encoding="utf-8")
    with live(scripted("yes")) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", task.name) == 1
    summary = summary_of(tmp_path / "out", task.name)
    assert (summary["covered"], summary["of"], summary["score"]) == (2, 3, None)


def test_a_limit_is_no_whole_either(tmp_path):
    write_task(TASKS[TASK], tmp_path)
    with live(scripted("yes")) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", TASK, "--limit", "2") == 0
    summary = summary_of(tmp_path / "out")
    assert (summary["score"], summary["score_of_covered"], summary["covered"]) == (None, 100, 2)


def test_a_refused_sample_is_named(tmp_path, capsys):
    lines = good_lines(TASKS[TASK], tmp_path)
    write_lines(tmp_path / TASKS[TASK].samples, [*lines[:2], lines[2] | {"question": "refuse me"}])
    from tests.fake_engine import FakeEngine, model_info

    with live(FakeEngine(model_info())) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", TASK) == 1
    assert summary_of(tmp_path / "out")["flaws"] == {"refused": 1}
    assert "the fake engine refuses this" in capsys.readouterr().out


class DyingEngine(SteeredEngine):
    """Dies with the fifth request."""

    async def start(self) -> None:
        await super(SteeredEngine, self).start()

    async def wait_dead(self) -> None:
        await super(SteeredEngine, self).wait_dead()

    async def generate(self, request):
        if len(self.requests) == 4:
            await self.die()
        async for step in super().generate(request):
            yield step


def test_a_server_that_dies_ends_the_run_with_what_it_covers(tmp_path, capsys):
    image = picture(tmp_path, "1.png")
    lines = [{"image": image, "question": f"{i}?", "question_id": i, "answer": "x"} for i in range(60)]
    write_lines(tmp_path / TASKS[TASK].samples, lines)
    with live(DyingEngine()) as base_url:
        options = ("--retries", "0", "--concurrency", "2")
        assert run(base_url, tmp_path, tmp_path / "out", TASK, *options) == 1
    summary = summary_of(tmp_path / "out")
    assert (summary["covered"], summary["of"], summary["complete"]) == (4, 60, False)
    assert summary["flaws"]["failed"] + summary["flaws"]["not asked"] == 56
    assert summary["flaws"]["not asked"] > 30
    assert "INCOMPLETE" in capsys.readouterr().out
    with live(scripted("x")) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", TASK) == 0
    assert summary_of(tmp_path / "out")["asked"] == 56


def test_a_judge_that_talks_nonsense_is_asked_again_and_then_named(tmp_path, capsys):
    task = TASKS["touchstone-en"]
    write_task(task, tmp_path)
    with live(scripted("an answer")) as base_url, live(scripted("I cannot say", "8 6", "11 3")) as judge:
        options = ("--judge-base-url", judge, "--concurrency", "1")
        assert run(base_url, tmp_path, tmp_path / "out", task.name, *options) == 0
    # A verdict is 8 6 once it comes, in either order: 6 as the second answer, 8 as the first one.
    assert summary_of(tmp_path / "out", task.name)["score"] == 700
    with live(scripted("an answer")) as base_url, live(scripted("nonsense")) as judge:
        assert run(base_url, tmp_path, tmp_path / "other", task.name, "--judge-base-url", judge) == 1
    summary = summary_of(tmp_path / "other", task.name)
    assert (summary["flaws"], summary["covered"], summary["score_of_covered"]) == ({"unjudged": 2}, 0, None)
    assert "no two numbers, but 'nonsense'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vqav2", "--data", "d"], "try vqav2-val, vqav2-testdev"),
        (["nothing", "--data", "d"], "--list"),
        (["touchstone-en", "--data", "d", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"], "--judge-base-url"),
        (["okvqa", "--data", "d", "--base-url", "ftp://x", "--model", "m"], "no http or https URL"),
        (["okvqa", "--data", "d", "--base-url", "127.0.0.1:9"], "cannot reach"),
        (["mme", "--data", "d", "--base-url", "127.0.0.1:9", "--model", "m", "--shots", "2"], "no training split"),
        (["okvqa", "--data", "d", "--base-url", "127.0.0.1:9", "--model", "m"], "cannot read d/okvqa"),
        (["--report", "--output", "nowhere"], "no summary"),
        (["--compare", "nowhere", "neither"], "no task in common"),
    ],
)
def test_mistakes_are_told(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert evaluate(arguments) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["okvqa"], ["okvqa", "--data", "d", "--concurrency", "0"]])
def test_wrong_arguments_end_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        evaluate(arguments)
    assert ended.value.code == 2
