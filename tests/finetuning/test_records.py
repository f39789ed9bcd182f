import json
from pathlib import Path
from typing import Any

import pytest

from qwenvl.chat import Image, Role, Text
from qwenvl.finetuning.records import SHOWN_PROBLEMS, DataError, read_records, repeated_ids
from tests.finetuning.checkpoints import COLOURS, turn, write_data

ASKED = turn("user", "Hello?")
ANSWERED = turn("assistant", "Hello.")


def problems_of(tmp_path: Path, sample: Any) -> list[str]:
    records, problems = read_records(write_data(tmp_path / "data.json", [COLOURS[0], sample, COLOURS[1]]))
    assert len(records) == (2 if problems else 3)
    return problems


def test_a_conversation_as_the_original_writes_it(tmp_path: Path) -> None:
    value = "Picture 1: <img>a.png</img>\nPicture 2:<img>http://b/c.jpg</img>\nSame?"
    sample = {"id": "x", "conversations": [turn("user", value), ANSWERED, ASKED, ANSWERED]}
    (record,), problems = read_records(write_data(tmp_path / "data.json", [sample]))
    assert not problems
    assert record.messages[0].parts == (
        Text("Picture 1: "),
        Image("a.png"),
        Text("\nPicture 2:"),
        Image("http://b/c.jpg"),
        Text("\nSame?"),
    )
    assert [message.role for message in record.messages] == [Role.USER, Role.ASSISTANT] * 2
    assert list(record.pictures) == ["a.png", "http://b/c.jpg"]


def test_a_system_turn_may_come_first(tmp_path: Path) -> None:
    assert not problems_of(tmp_path, {"id": "x", "conversations": [turn("system", "Be brief."), ASKED, ANSWERED]})


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ([turn("human", "Hello?"), ANSWERED], "conversations[0].from is 'human': it must be user or assistant"),
        ([{"value": "Hello?"}, ANSWERED], "conversations[0].from is missing"),
        (
            [ASKED, ASKED, ANSWERED],
            "conversations[1].from is 'user' (after a turn of the user): it must be 'assistant'",
        ),
        ([ANSWERED, ASKED, ANSWERED], "conversations[0].from is 'assistant' (the first turn): it must be 'user'"),
        ([ASKED, turn("system", "Be brief."), ANSWERED], "conversations[1].from is 'system'"),
        ([ASKED, ANSWERED, ASKED], "conversations[2] is a turn of the user: the last must be an answer"),
        ([ASKED, turn("assistant", " \n")], "conversations[1].value is empty"),
        ([ASKED, {"from": "assistant"}], "conversations[1].value is missing"),
        ([ASKED, turn("assistant", 7)], "conversations[1].value must be a string, not a number"),  # type: ignore[arg-type]
        ([turn("user", "<img>a.png"), ANSWERED], "conversations[0].value cannot be read: <img> is not closed"),
        ([turn("user", "a.png</img>"), ANSWERED], "conversations[0].value cannot be read: </img> is not opened"),
        ([turn("user", "<img> </img>"), ANSWERED], "no path or URL"),
        ([ASKED, turn("assistant", "<img>a.png</img>")], "conversations[1].value holds a picture"),
        ([ASKED, turn("assistant", "<ref>a cat")], "conversations[1].value holds a <ref> that is not closed"),
        ([ASKED, turn("assistant", "<ref>a cat<box>(1,2),(3,4)</box>")], "<ref> that is not closed before <box>"),
        ([ASKED, turn("assistant", "a cat</ref>")], "</ref> that closes nothing"),
        ([ASKED, turn("assistant", "<box>(1,2),(3,4)</quad>")], "</quad> that closes nothing"),
        ([], "conversations is empty"),
        ([ASKED, "Hello."], "conversations[1] must be an object with from and value, not a string"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, turns: list[Any], problem: str) -> None:
    problems = problems_of(tmp_path, {"id": "wrong", "conversations": turns})
    assert len(problems) == 1
    assert problems[0].startswith(f'{tmp_path / "data.json"}: sample 1 (id "wrong"): ')
    assert problem in problems[0]


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        ("hello", "sample 1: must be an object with id and conversations, not a string"),
        ({"id": "x"}, "conversations is missing"),
        ({"id": "x", "conversations": "hello"}, "conversations is a string"),
        ({"id": ["x"], "conversations": [ASKED, ANSWERED]}, "id must be a string, not a list"),
    ],
)
def test_samples_that_are_none(tmp_path: Path, sample: Any, problem: str) -> None:
    assert problem in problems_of(tmp_path, sample)[0]


def test_every_problem_of_a_file_is_found(tmp_path: Path) -> None:
    wrong = [{"id": str(i), "conversations": [ASKED]} for i in range(30)]
    records, problems = read_records(write_data(tmp_path / "data.json", [*wrong, COLOURS[0]]))
    assert (len(records), len(problems)) == (1, 30)
    lines = str(DataError(problems)).splitlines()
    assert len(lines) == SHOWN_PROBLEMS + 1
    assert lines[-1] == "and 10 more problems"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"[]", "holds no conversations"),
        (b"{}", "must hold a list of conversations, not an object"),
        (b'[\n{"id": 1,}]', r"line 2, column 10: not JSON"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"data\.json.*{message}"):
        read_records(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_records(tmp_path / "data.json")


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    # A line separator that JSON allows inside a string is no end of a line.
    sample = {"id": "x", "conversations": [turn("user", "a\u2028b"), ANSWERED]}
    path.write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in (COLOURS[0], sample, "wrong")) + "\n\n")
    records, problems = read_records(path)
    assert [record.index for record in records] == [1, 2]
    assert problems == [f"{path}: line 3: must be an object with id and conversations, not a string"]
    path.write_text(json.dumps(COLOURS[0]) + "\n{")
    with pytest.raises(DataError, match="line 2, column 2"):
        read_records(path)


def test_repeated_ids(tmp_path: Path) -> None:
    records, _ = read_records(write_data(tmp_path / "data.json", [COLOURS[0], COLOURS[1], COLOURS[0]]))
    assert repeated_ids(records) == ["colour-red"]
