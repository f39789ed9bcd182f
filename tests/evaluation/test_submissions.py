import json
import zipfile
from xml.etree import ElementTree

import pytest

from qwenvl.evaluation.tasks.catalogue import TASKS
from tests.evaluation.layouts import write_task
from tests.evaluation.running import live, run, scripted


def submitted(name, tmp_path, answer="A Yes\tof"):
    write_task(TASKS[name], tmp_path)
    with live(scripted(answer)) as base_url:
        assert run(base_url, tmp_path, tmp_path / "out", name) == 0
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("vqav2-testdev", {"question_id": 100, "answer": "A Yes\tof"}),
        ("vizwiz-test", {"image": "0.png", "answer": "A Yes\tof"}),
        ("docvqa-test", {"questionId": 100, "answer": "A Yes\tof"}),
        ("gqa", {"questionId": "100", "prediction": "yes\tof"}),
    ],
)
def test_json_of_the_test_splits(name, entry, tmp_path):
    entries = json.loads((submitted(name, tmp_path) / f"{name}.submission.json").read_text(encoding="utf-8"))
    assert (len(entries), entries[0]) == (3, entry)


def test_mme_has_a_file_a_subtask(tmp_path):
    folder = submitted("mme", tmp_path) / "mme.submission"
    assert len(list(folder.iterdir())) == 14
    lines = (folder / "count.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "1.png\tIs it red? Please answer yes or no.\tYes\tA Yes of"


def test_seed_has_a_line_a_question(tmp_path):
    lines = (submitted("seed-image", tmp_path) / "seed-image.submission.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert (len(lines), first["question_id"], first["prediction"] in "ABCD") == (3, "q0", True)


def test_mmbench_is_a_workbook(tmp_path):
    path = submitted("mmbench-test", tmp_path) / "mmbench-test.submission.xlsx"
    with zipfile.ZipFile(path) as book:
        assert all(ElementTree.fromstring(book.read(name)) is not None for name in book.namelist())
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    rows = [["".join(cell.itertext()) for cell in row] for row in sheet.iter() if row.tag.endswith("}row")]
    assert rows[0] == ["index", "question", "A", "B", "C", "D", "prediction"]
    assert rows[1][:6] == ["7", "Which?", "red", "blue", "green", ""]
    assert rows[1][6] in ("A", "B", "C")


def test_what_is_incomplete_is_not_submitted(tmp_path):
    write_task(TASKS["vqav2-testdev"], tmp_path)
    with live(scripted("x")) as base_url:
        run(base_url, tmp_path, tmp_path / "out", "vqav2-testdev", "--limit", "1")
    assert not list((tmp_path / "out").glob("*submission*"))
