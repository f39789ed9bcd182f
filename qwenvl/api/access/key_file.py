"""The file of named keys."""

import logging
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qwenvl.api.access.keys import HashedKey, KeyFileError, digest_of, hash_key
from qwenvl.api.context import Caller, KeyLimits
from qwenvl.api.validation import field_path

logger = logging.getLogger(__name__)

UNLIMITED = "unlimited"

Limit = Annotated[int, Field(ge=1)] | Literal["unlimited"] | None
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Table(BaseModel):
    """One ``[keys.NAME]``. A limit that is left out is the server's."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    admin: bool = False
    requests_per_minute: Limit = None
    tokens_per_minute: Limit = None
    concurrent_requests: Limit = None

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        if (self.key is None) == (self.sha256 is None):
            raise ValueError("needs either key or sha256")
        return self

    @property
    def digest(self) -> bytes:
        if self.sha256 is not None:
            return bytes.fromhex(self.sha256)
        assert self.key is not None
        return digest_of(self.key)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: Annotated[dict[Name, _Table], Field(min_length=1)]


def read_key_file(path: Path, defaults: KeyLimits) -> dict[bytes, Caller]:
    """The callers of a key file by their keys' digests.

    Raises:
        KeyFileError: the file cannot be read, or a table or field is wrong. Never holds a key.
    """
    try:
        with path.open("rb") as file:
            readable_by_all = bool(file.fileno() >= 0 and path.stat().st_mode & stat.S_IROTH)
            content = _File.model_validate(tomllib.load(file))
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        raise KeyFileError(f"{path}: {_complaint(error)}") from None
    if readable_by_all and any(table.key is not None for table in content.keys.values()):
        logger.warning("%s holds keys that every user of this machine can read: chmod 600 it", path)
    callers: dict[bytes, Caller] = {}
    for name, table in content.keys.items():
        _check(path, name, table)
        if (same := callers.get(table.digest)) is not None:
            raise KeyFileError(f"{path}: keys.{same.name} and keys.{name} are the same key")
        callers[table.digest] = Caller(name, table.admin, _limits(table, defaults))
    return callers


def _check(path: Path, name: str, table: _Table) -> None:
    if name == Caller().name:
        raise KeyFileError(f"{path}: keys.{name}: the name is kept for servers without keys")
    try:
        assert table.key is None or isinstance(hash_key(table.key), HashedKey)
    except ValueError as error:
        raise KeyFileError(f"{path}: keys.{name}.key: {error}") from None


def _limits(table: _Table, defaults: KeyLimits) -> KeyLimits:
    return KeyLimits(
        _limit(table.requests_per_minute, defaults.requests_per_minute),
        _limit(table.tokens_per_minute, defaults.tokens_per_minute),
        _limit(table.concurrent_requests, defaults.concurrent_requests),
    )


def _limit(own: int | str | None, default: int | None) -> int | None:
    return default if own is None else own if isinstance(own, int) else None


def _complaint(error: ValidationError) -> str:
    """The first complaint, without the value: it may be a key in the wrong place."""
    first = error.errors(include_url=False, include_input=False)[0]
    # pydantic reports the branch of a union among the names of fields.
    location = [step for step in first["loc"] if not str(step).startswith(("constrained-", "literal[", "[key]"))]
    if "[key]" in map(str, first["loc"]):
        return "the name of a key has up to 64 letters, digits and ._-, and starts with a letter or digit"
    return f"{field_path(location) or 'the file'}: {first['msg'].removeprefix('Value error, ')}"
