import json

from qwenvl.api.sse import encode_event


def test_every_line_reader_sees_one_line() -> None:
    text = "a\u2028b\u2029c\x85d\ne"
    event = encode_event(json.dumps({"text": text}, ensure_ascii=False)).encode().decode()
    assert event.endswith("\n\n")
    (line, blank) = event.splitlines()
    assert blank == ""
    assert json.loads(line.removeprefix("data: ")) == {"text": text}
