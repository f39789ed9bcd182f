import pytest

from qwenvl.api.validation import field_path


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (("messages",), "messages"),
        (
            ("messages", 0, "content", "@a list of parts", 1, "image_url", "@an object", "url"),
            "messages[0].content[1].image_url.url",
        ),
        (("stop", "@a list of strings", 2), "stop[2]"),
        ((), ""),
    ],
)
def test_field_path(location: tuple[int | str, ...], path: str) -> None:
    assert field_path(location) == path
