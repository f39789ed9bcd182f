from dataclasses import replace

import pytest

from qwenvl.demo.scores import SUMMARIES, boxes_in, overlap, probes, score, table
from qwenvl.demo.turns import Task


def test_right_answers_score_all() -> None:
    found = probes(6)
    scores = score(found, [probe.turn.answer for probe in found])
    assert all(of["right"] == 1.0 for of in scores.values())
    assert all(of["nearest"] == 1.0 and of["iou"] > 0.75 for row, of in scores.items() if row.startswith("grounding"))
    assert {f"grounding, {n}" for n in range(1, 6)} <= set(scores)
    asked = scores.keys() - SUMMARIES.keys()
    assert all(scores[row]["n"] == 6 for row in asked if not row.startswith("reading"))
    assert (scores["grounding, one to five"]["n"], scores["all questions"]["n"]) == (30, len(found))


def test_wrong_answers_score_nothing() -> None:
    found = [probe for probe in probes(6) if probe.turn.task is not Task.ABSENT]
    assert all(of["right"] == 0.0 for of in score(found, ["?"] * len(found)).values())


def test_a_box_on_what_is_absent_is_false() -> None:
    found = [probe for probe in probes(4) if probe.turn.task is Task.ABSENT]
    answers = ["There is none.", "<ref>x</ref><box>(1,2),(3,4)</box>", "<ref>x</ref><box>(1,2),", "图中没有。"]
    assert score(found, answers)["absent"]["right"] == 0.5


def test_rows_that_sum_up_others() -> None:
    found = [probe for probe in probes(10) if probe.row in ("grounding, 1", "grounding, 5", "colour")]
    answers = [probe.turn.answer if probe.row != "grounding, 5" else "?" for probe in found]
    scores = score(found, answers)
    assert list(scores)[-2:] == ["grounding, one to five", "all questions"]
    assert scores["grounding, one to five"]["right"] == 0.5
    assert scores["all questions"]["right zh"] == pytest.approx(2 / 3)


def test_a_box_on_another_object_is_told_from_a_bad_one() -> None:
    probe = next(p for p in probes(20) if p.row == "grounding, 3")
    other = next(thing for thing in probe.scenes[0].things if thing is not probe.turn.targets[0])
    x1, y1, x2, y2 = (int(1000 * value) for value in other.box)
    of = score([probe], [f"<box>({x1},{y1}),({x2},{y2})</box>"])[probe.row]
    assert (of["right"], of["nearest"]) == (0.0, 0.0)
    x, y = (int(1000 * value) for value in probe.turn.targets[0].centre)
    of = score([probe], [f"<box>({x},{y}),({x + 5},{y + 5})</box>"])[probe.row]
    assert (of["right"], of["nearest"]) == (0.0, 1.0)


def test_the_same_questions_every_time() -> None:
    assert probes(3) == probes(3)
    assert probes(3) != probes(3, "other")


def test_overlap() -> None:
    assert overlap((0.0, 0.0, 0.5, 0.5), (0.25, 0.0, 0.75, 0.5)) == pytest.approx(1 / 3)
    assert overlap((0.0, 0.0, 0.1, 0.1), (0.2, 0.2, 0.3, 0.3)) == 0.0


def test_boxes_are_read() -> None:
    assert boxes_in("a<box>(1,2),(30,400)</box> and <box>(1,2)</box>") == [(0.001, 0.002, 0.03, 0.4)]


def test_table_has_a_row_for_each() -> None:
    found = [replace(probe, row="some row") for probe in probes(1)[:3]]
    assert "| some row | 3 | 100.0 |" in table(score(found, [probe.turn.answer for probe in found]))
