import base64

import pytest

from qwenvl.api.media.data_urls import ContentTooLargeError, DataUrlError, decode_data_url


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,aGVsbG8=",
        "data:text/html;base64,aGVsbG8=",
        "DATA:;BASE64,aGVsbG8=",
        "data:image/svg+xml;charset=utf-8;base64,aGVsbG8=",
        "data:image/png;base64,aGVs\nbG8=",
        "data:image/png;base64,aGVs%0AbG8%3D",
    ],
)
def test_data_urls(url: str) -> None:
    assert decode_data_url(url, 100) == b"hello"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:", "of the form"),
        ("data:image/png,aGVsbG8=", "of the form"),
        ("data:image/png;base64", "of the form"),
        ("data:image/png;base65,aGVsbG8=", "of the form"),
        ("data:image/png;base64,aGVsbG8", "valid base64"),
        ("data:;base64,a-_=", "valid base64"),
        ("data:;base64,aGVsbG8=图", "valid base64"),
        ("data:;base64,=", "valid base64"),
        ("data:;base64,aGVsbG8=aGVsbG8=", "valid base64"),
        ("data:;base64,http://127.0.0.1/", "valid base64"),
    ],
)
def test_malformed(url: str, reason: str) -> None:
    with pytest.raises(DataUrlError, match=reason):
        decode_data_url(url, 100)


def test_size() -> None:
    content = b"\1" * 1000
    url = f"data:;base64,{base64.b64encode(content).decode()}"
    assert decode_data_url(url, 1000) == content
    for limit in (999, 500):
        with pytest.raises(ContentTooLargeError):
            decode_data_url(url, limit)
