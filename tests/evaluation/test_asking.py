import json

import pytest

from qwenvl.errors import UserError
from qwenvl.evaluation.judging import read_verdict
from qwenvl.evaluation.scoring import score
from qwenvl.evaluation.shots import Shots
from qwenvl.evaluation.tasks.catalogue import TASKS
from qwenvl.evaluation.tasks.reading import read_samples
from tests.evaluation.layouts import write_lines, write_task
from tests.evaluation.running import live, run, scripted


def sent(engine, index=-1):
    """The text of one of an engine's prompts."""
    return engine.info.vocabulary.decode(engine.requests[index].token_ids)


def test_shots_come_before_the_question_with_their_answers(tmp_path):
    write_task(TASKS["vqav2-val"], tmp_path)
    engine = scripted("yes")
    with live(engine) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", "vqav2-val", "--shots", "2", "--concurrency", "1") == 0
    shots = Shots(TASKS["vqav2-val"], tmp_path, 2, 0)
    sample = next(read_samples(TASKS["vqav2-val"], tmp_path))
    prefix = shots.before(sample)
    assert prefix == shots.before(sample)
    assert prefix.text.count("Answer: no") == 2
    assert len(prefix.images) == 2
    assert sent(engine, 0) == prefix.text + sample.prompt
    assert len(engine.requests[0].images) == 3


def test_other_seeds_are_other_shots(tmp_path):
    task = TASKS["okvqa"]
    write_task(task, tmp_path)
    line = {"image": "x.png", "question": "q", "answer": ["no", "none"]}
    write_lines(tmp_path / task.train, [line | {"question": f"{i}?"} for i in range(100)])
    sample = next(read_samples(task, tmp_path))
    chosen = {Shots(task, tmp_path, 1, seed).before(sample).text for seed in range(20)}
    assert len(chosen) > 10


def test_shots_that_are_not_there_are_told(tmp_path):
    write_task(TASKS["okvqa"], tmp_path)
    with pytest.raises(UserError, match="3 lines, which is less than 4 shots"):
        Shots(TASKS["okvqa"], tmp_path, 4, 0)
    write_lines(tmp_path / TASKS["okvqa"].train, ['{"image": "x", "question": "q"}'])
    sample = next(read_samples(TASKS["okvqa"], tmp_path))
    with pytest.raises(UserError, match="sample 1: answer is missing"):
        Shots(TASKS["okvqa"], tmp_path, 1, 0).before(sample)


def test_a_raw_prompt_is_sent_as_it_is_and_greedily(tmp_path):
    write_task(TASKS["refcoco-val"], tmp_path)
    engine = scripted("(0,0),(999,999)</box>")
    with live(engine) as base_url:
        run(base_url, tmp_path, tmp_path / "out", "refcoco-val", "--limit", "1")
    sampling = engine.requests[0].sampling
    assert sent(engine) == "<img></img><ref>red one</ref><box>"
    assert (sampling.temperature, sampling.max_tokens, sampling.min_tokens) == (0, 28, 10)


def test_options_in_a_chat_are_read_off_the_answer(tmp_path):
    write_task(TASKS["scienceqa"], tmp_path)
    with live(scripted("A. red")) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", "scienceqa", "--prompt-style", "chat") == 0
    lines = (tmp_path / "out" / "scienceqa.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["prediction"] for line in lines] == [["A"]] * 3
    assert [json.loads(line)["score"] for line in lines] == [1, 0, 0]


def test_options_are_asked_in_one_request_a_rotation(tmp_path):
    write_task(TASKS["mmbench-dev-circular"], tmp_path)
    engine = scripted("x")
    with live(engine) as base_url:
        run(base_url, tmp_path, tmp_path / "out", "mmbench-dev-circular", "--limit", "1")
    # Three rotations of three options, each a prompt whose picture is the same.
    assert len(engine.requests) == 9
    assert {request.sampling.max_tokens for request in engine.requests} == {1}
    assert sum(sent(engine, i).endswith("Answer: A") for i in range(9)) == 3


@pytest.mark.parametrize(
    ("chosen", "right", "scored"),
    [
        (["B"], "B", 1),
        (["A"], "B", 0),
        ([None], "A", 0),
        # The right choice, second of three, is first after one rotation and last after two.
        (["B", "A", "C"], "B", 1),
        (["B", "A", "A"], "B", 0),
        (["A", "C", "B"], "A", 1),
    ],
)
def test_circular_choices(chosen, right, scored):
    assert score(TASKS["mmbench-dev-circular"], chosen, right) == scored


def test_what_has_no_answer_has_no_score():
    assert score(TASKS["vqav2-testdev"], "yes", None) is None


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("7 8", (7, 8)),
        ("7.5 8\nSince ..", (7.5, 8)),
        (" 7, 8\n", (7, 8)),
        ("10/1", (10, 1)),
        ("0 8", None),
        ("7 11", None),
        ("7", None),
        ("7 8 9", None),
        ("Scores: 7 8", None),
        ("7 8 for the first", None),
        ("", None),
    ],
)
def test_verdicts(text, verdict):
    assert read_verdict(text) == verdict


def test_white_space_around_an_answer_does_not_count(tmp_path):
    write_task(TASKS["docvqa-val"], tmp_path)
    with live(scripted(" abc\n")) as base_url:
        run(base_url, tmp_path, tmp_path / "out", "docvqa-val")
    lines = (tmp_path / "out" / "docvqa-val.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["prediction"] for line in lines} == {"abc"}
