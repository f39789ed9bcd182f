import pytest

from qwenvl.api.batches.form import FormReader
from qwenvl.errors import UserError

CONTENT = b'{"a": 1}\r\n--not the boundary\r\n\r\n--b'
FORM = (
    b'--bound\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--bound\r\nContent-Disposition: form-data; name="file"; filename="a \\"b\\".jsonl"\r\n'
    b"Content-Type: application/jsonl\r\n\r\n" + CONTENT + b"\r\n--bound--\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 7, 64, len(FORM)])
def test_a_form_in_pieces(size: int) -> None:
    form = FormReader(b"bound")
    found = b""
    for start in range(0, len(FORM), size):
        form.feed(FORM[start : start + size])
        found += form.take()
    form.finish()
    assert found == CONTENT
    assert form.fields == {"purpose": "batch"}
    assert form.filename == 'a "b".jsonl'


def test_a_form_that_breaks_off() -> None:
    form = FormReader(b"bound")
    form.feed(FORM[:-6])
    with pytest.raises(UserError, match="not a valid form"):
        form.finish()
