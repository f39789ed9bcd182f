import json
from pathlib import Path

import pytest

from qwenvl.api.batches.input_file import MAX_LINES, MAX_PROBLEMS, InputReader, read_body
from qwenvl.api.batches.objects import Problem
from tests.api.batches.inputs import jsonl, request_line
from tests.api.chatting import CHAT

BOM = b"\xef\xbb\xbf"


def read(path: Path, content: bytes, max_line_bytes: int = 10_000) -> InputReader:
    path.write_bytes(content)
    reader = InputReader(CHAT, max_line_bytes)
    reader.read(path)
    return reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "input"


def told(problem: Problem) -> tuple[int | None, str]:
    return problem.line, problem.code


@pytest.mark.parametrize("begin", [b"", BOM, b"\n \r\n\t\n", BOM + b"\r\n"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n  \n"])
def test_lines_are_found_again(path: Path, begin: bytes, end: bytes) -> None:
    lines = [request_line("a"), request_line("漢字", "\u2028 and \x85"), request_line("c")]
    content = begin + end.join(json.dumps(line, ensure_ascii=False).encode() for line in lines)
    for last in (b"", end):
        reader = read(path, content + last)
        assert not reader.problems
        assert [line.custom_id for line in reader.lines] == ["a", "漢字", "c"]
        assert [json.loads(read_body(path, line)) for line in reader.lines] == [line["body"] for line in lines]


def test_numbers_reach_the_endpoint_as_they_are(path: Path) -> None:
    line = '{"custom_id": "a", "method": "POST", "url": "%s", "body": {"n": 1.0, "seed": 9007199254740993, "x": NaN}}'
    reader = read(path, (line % CHAT).encode())
    assert read_body(path, reader.lines[0]) == b'{"n":1.0,"seed":9007199254740993,"x":NaN}'


@pytest.mark.parametrize("size", [99, 100])
def test_lines_up_to_the_limit(path: Path, size: int) -> None:
    line = jsonl([request_line("a")]).rstrip()
    assert not read(path, line + b"\n" + b" " * size, len(line) + 1).problems


def test_longer_lines_are_refused_and_the_next_one_read(path: Path) -> None:
    good = jsonl([request_line("a")])
    for end in (b"\n", b"\r\n"):
        reader = read(path, b"x" * 700 + end + good + b"y" * 1000, 300)
        assert [told(problem) for problem in reader.problems] == [(1, "line_too_long"), (3, "line_too_long")]
        assert json.loads(read_body(path, reader.lines[0])) == request_line("a")["body"]


def test_as_many_requests_as_there_may_be(path: Path) -> None:
    content = jsonl(request_line(str(number)) for number in range(MAX_LINES))
    reader = read(path, content + b"\n")
    assert (len(reader.lines), reader.problems) == (MAX_LINES, [])
    reader = read(path, content + jsonl([request_line("more")]) * 2)
    assert [told(problem) for problem in reader.problems] == [(MAX_LINES + 1, "too_many_requests")]


def test_not_more_problems_than_anybody_reads(path: Path) -> None:
    assert len(read(path, b"x\n" * 1000).problems) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "invalid_json_line"),
        (b"\xff\xfe{\x00}\x00", "invalid_utf8"),
        (b'{"custom_id": "\xc0\x80"}', "invalid_utf8"),
        (b'{"custom_id": "\\ud800", "method": "POST", "url": "/v1/chat/completions", "body": {}}', "invalid_json_line"),
        (b"[" * 5000, "invalid_json_line"),
        (b"null", "invalid_json_line"),
        (b"{}{}", "invalid_json_line"),
        (jsonl([request_line("x" * 513)]), "invalid_value"),
        (jsonl([{**request_line("a"), "custom_id": 1}]), "invalid_type"),
    ],
)
def test_what_is_no_request(path: Path, line: bytes, code: str) -> None:
    reader = read(path, line)
    assert [told(problem) for problem in reader.problems] == [(1, code)]
    assert reader.problems[0].message
    assert len(reader.problems[0].message) < 200
