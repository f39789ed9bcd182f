import pytest
from pydantic import ValidationError

from qwenvl.api import Settings


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_keys_are_not_printed() -> None:
    assert "secret" not in repr(Settings.model_validate({"api_keys": ["secret"]}))


@pytest.mark.parametrize(
    "fields",
    [
        {"port": -1},
        {"port": 65536},
        {"api_keys": [""]},
        {"max_n": 0},
        {"max_body_bytes": 0},
        {"max_image_pixels": 10**9},
        {"image_timeout": 0},
        {"drain_timeout": -1},
        {"unknown": 1},
    ],
)
def test_bounds(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(fields)
