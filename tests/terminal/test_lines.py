import os
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from qwenvl.terminal.lines import _Completer, piped_lines


async def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes("\ufeffone\r\n\n图片\n".encode() + b"\xff last")
    with path.open("rb") as file:
        assert [line async for line in piped_lines(file.fileno())] == ["one", "", "图片", "\ufffd last"]


async def test_a_pipe_line_by_line() -> None:
    source, sink = os.pipe()
    lines = piped_lines(source)
    os.write(sink, b"one\nt")
    assert await anext(lines) == "one"
    os.write(sink, b"wo\n")
    assert await anext(lines) == "two"
    os.close(sink)
    assert [line async for line in lines] == []
    os.close(source)


def completions(text: str) -> list[str]:
    return [completion.text for completion in _Completer().get_completions(Document(text), CompleteEvent())]


def test_names_of_commands_and_paths_are_completed(tmp_path: Path) -> None:
    (tmp_path / "picture.png").touch()
    assert completions("/re") == ["/retry", "/reset"]
    assert completions(f"/image a.png {tmp_path}/pic") == ["ture.png"]
    assert completions("What is in /") == []
