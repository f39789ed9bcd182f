import hashlib

import pytest

from qwenvl.api.access.keys import HashedKey, KeyFileError, Keyring, digest_of, hash_key
from qwenvl.api.context import Caller, KeyLimits
from qwenvl.api.errors import AuthenticationError

LIMITS = KeyLimits(requests_per_minute=3)


def hashed(key: str) -> HashedKey:
    result = hash_key(key)
    assert isinstance(result, HashedKey)
    return result


def test_digests_and_names_say_nothing_of_the_key() -> None:
    key = hashed("sk-secret")
    assert key.digest == hashlib.sha256(b"sk-secret").digest()
    assert key.name.startswith("key-")
    assert "secret" not in repr(key)
    assert hashlib.sha256(b"sk-secret").hexdigest()[:4] not in repr(key)


def test_a_key_has_the_same_name_wherever_it_stands() -> None:
    rings = [Keyring(keys) for keys in ([hashed("a"), hashed("b")], [hashed("b")])]
    assert len({ring.caller("Bearer b").name for ring in rings}) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "a\tb", "\x00"])
def test_keys_that_no_header_carries(key: str) -> None:
    with pytest.raises(ValueError, match="a key must have"):
        hash_key(key)


def test_callers() -> None:
    alice = Caller("alice", is_admin=True, limits=KeyLimits(1, 2, 3))
    ring = Keyring([hashed("plain")], {digest_of("hers"): alice}, LIMITS)
    assert ring.caller("Bearer hers") == alice
    assert ring.caller("bearer  plain ") == Caller(hashed("plain").name, limits=LIMITS)
    for header in (None, "", "Bearer", "Basic hers", "Bearer her", "Bearer hers2"):
        with pytest.raises(AuthenticationError):
            ring.caller(header)


def test_without_keys_everyone_is_anonymous() -> None:
    ring = Keyring(defaults=LIMITS)
    for header in (None, "Bearer anything"):
        assert ring.caller(header) == Caller("anonymous", limits=LIMITS)


def test_no_key_twice() -> None:
    with pytest.raises(KeyFileError, match="the same key"):
        Keyring([hashed("a"), hashed("a")])
    with pytest.raises(KeyFileError, match="the same key"):
        Keyring([hashed("a")], {digest_of("a"): Caller("alice")})
    with pytest.raises(KeyFileError, match="the same name"):
        Keyring([], {digest_of("a"): Caller("alice"), digest_of("b"): Caller("alice")})
