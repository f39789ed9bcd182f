"""Bearer keys, kept as digests, and the callers they stand for."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qwenvl.api.context import Caller, KeyLimits
from qwenvl.api.errors import AuthenticationError
from qwenvl.errors import QwenVLError

_UNFIT = re.compile(r"[\s\x00-\x1f\x7f]")
_NAME_ROUNDS = 100_000


class KeyFileError(QwenVLError):
    """A key file that cannot be read, or keys that do not go together; the message names what is at fault."""


@dataclass(frozen=True, slots=True)
class HashedKey:
    """A key as it is kept: nothing here leads back to its text.

    Attributes:
        digest: SHA-256.
        name: told from the key alone, so that it stays whatever keys come and go beside it.
    """

    digest: bytes = field(repr=False)
    name: str


def hash_key(key: object) -> object:
    """A key's digest and name; what is hashed already stays, and what is no text is left for others to refuse.

    Raises:
        ValueError: no header could carry the key.
    """
    if not isinstance(key, str):
        return key
    if not key or _UNFIT.search(key):
        raise ValueError("a key must have at least one character, and neither spaces nor control characters")
    # The name goes into logs. Slow to compute, it is no help in guessing the key.
    name = hashlib.pbkdf2_hmac("sha256", key.encode(), b"qwenvl key name", _NAME_ROUNDS).hex()[:8]
    return HashedKey(digest_of(key), f"key-{name}")


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class Keyring:
    """Who owns which key.

    Args:
        keys: of callers that have no table of their own.
        named: callers by the digests of their keys.
        defaults: limits of ``keys`` and ``admins``, and of everyone where there is no key at all.
        admins: keys of callers that may change what is served.

    Raises:
        KeyFileError: two callers share a key or a name.
    """

    def __init__(
        self,
        keys: Iterable[HashedKey] = (),
        named: Mapping[bytes, Caller] | None = None,
        defaults: KeyLimits | None = None,
        admins: Iterable[HashedKey] = (),
    ) -> None:
        limits = defaults or KeyLimits()
        self._anonymous = Caller(limits=limits)
        self._callers = [
            *(named or {}).items(),
            *((key.digest, Caller(key.name, limits=limits)) for key in keys),
            *((key.digest, Caller(key.name, is_admin=True, limits=limits)) for key in admins),
        ]
        for attribute, values in (
            ("key", [digest for digest, _ in self._callers]),
            ("name", [caller.name for _, caller in self._callers]),
        ):
            if len(set(values)) < len(values):
                raise KeyFileError(f"two callers have the same {attribute}: each needs one of its own")

    @property
    def has_admin(self) -> bool:
        """There is a key that may change what is served."""
        return any(caller.is_admin for _, caller in self._callers)

    def caller(self, authorization: str | None) -> Caller:
        """Who sent an ``Authorization`` header; how long it takes tells nothing of the keys.

        Raises:
            AuthenticationError: there is no bearer key, or it is none of these.
        """
        if not self._callers:
            return self._anonymous
        scheme, _, given = (authorization or "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            raise AuthenticationError("An API key is required, in the header 'Authorization: Bearer <key>'.")
        # Digests are equally long, and each key is compared, also after one that matched.
        # Header values arrive decoded as Latin-1, whatever their bytes meant.
        digest = hashlib.sha256(given.encode("latin-1")).digest()
        found = [caller for own, caller in self._callers if hmac.compare_digest(digest, own)]
        if not found:
            raise AuthenticationError("The API key is not valid.")
        return found[0]
