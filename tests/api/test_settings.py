import hashlib

import pytest
from pydantic import ValidationError

from qwenvl.api import Settings


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_keys_are_kept_as_digests() -> None:
    settings = Settings.model_validate({"api_keys": ["secret"]})
    (key,) = settings.api_keys
    assert key.digest == hashlib.sha256(b"secret").digest()
    assert "secret" not in repr(settings) + settings.model_dump_json(exclude={"api_keys"})


def test_a_refused_key_is_not_told() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"api_keys": ["my secret"]})
    assert "secret" not in str(refused.value)


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
