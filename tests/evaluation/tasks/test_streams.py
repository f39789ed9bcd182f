import json
import tracemalloc

import pytest

from qwenvl.errors import UserError
from qwenvl.evaluation.disk_table import DiskTable
from qwenvl.evaluation.tasks import streams
from qwenvl.evaluation.tasks.catalogue import TASKS
from qwenvl.evaluation.tasks.reading import read_samples
from qwenvl.evaluation.tasks.streams import read_elements, read_lines, read_table


@pytest.fixture(params=[1, 7, 1 << 20])
def chunks(request, monkeypatch):
    """Files are read so many characters at a time: a value may end anywhere."""
    monkeypatch.setattr(streams, "CHUNK_CHARACTERS", request.param)


@pytest.mark.usefixtures("chunks")
def test_elements_of_one_array_of_an_object(tmp_path):
    path = tmp_path / "a.json"
    document = {"x": 12345, "info": {"k": [1, "]"]}, "wanted": [12, {"a": ["}"]}, "te\\xt", 3.5], "other": [[], {}]}
    for text in (json.dumps(document), json.dumps(document, indent=2)):
        path.write_text(text, encoding="utf-8")
        assert list(read_elements(path, "wanted")) == document["wanted"]
        assert list(read_elements(path, "other")) == [[], {}]


@pytest.mark.usefixtures("chunks")
def test_elements_of_an_array_alone(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(' [ 1234 , "x" ] ', encoding="utf-8")
    assert list(read_elements(path, None)) == [1234, "x"]
    path.write_text("[]", encoding="utf-8")
    assert list(read_elements(path, None)) == []


@pytest.mark.parametrize(
    "text", ["", "nothing", '{"a": [1, 2', '{"a": [1 2]}', '{"a" [1]}', '{"b": [1]}', '{"a": 1}', "[1]"]
)
def test_files_that_are_something_else_are_told(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.json"):
        list(read_elements(path, "a"))


def test_files_that_are_not_there_are_told(tmp_path):
    for read in (lambda path: read_elements(path, "a"), read_lines, read_table):
        with pytest.raises(UserError, match="cannot read"):
            list(read(tmp_path / "nowhere"))


def test_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf{}\n\n  \nx\x85y\xe2\x80\xa8z\n\xff\nlast")
    assert list(read_lines(path)) == ["{}\n", "x\ufffdy\u2028z\n", "\ufffd\n", "last"]


def test_a_million_lines_take_no_memory(tmp_path):
    task = TASKS["ocrvqa-test"]
    path = tmp_path / task.samples
    path.parent.mkdir()

    def most_memory(lines: int) -> int:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(
                f'{{"image": "x", "question": "q", "answer": "a", "question_id": {i}}}\n' for i in range(lines)
            )
        tracemalloc.start()
        assert sum(1 for _ in read_samples(task, tmp_path)) == lines
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    # Of 40 times the lines; a million take minutes under tracemalloc, and no more.
    assert most_memory(20_000) < 1.2 * most_memory(500) + 100_000


def test_a_table_on_the_disk():
    with DiskTable() as table:
        assert table.add("b", "1")
        assert not table.add("b", "2")
        table.put("a", "3")
        table.put("a", "4")
        assert (table.get("b"), table.get("a"), table.get("c")) == ("1", "4", None)
        assert "a" in table
        assert "c" not in table
        assert (len(table), list(table.items())) == (2, [("a", "4"), ("b", "1")])
