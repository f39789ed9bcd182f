"""Bearer keys."""

import hashlib
import hmac
from collections.abc import Sequence

from pydantic import SecretStr

from qwenvl.api.errors import AuthenticationError


def check_key(authorization: str | None, api_keys: Sequence[SecretStr]) -> None:
    """Check an ``Authorization`` header; how long it takes tells nothing of the keys.

    Raises:
        AuthenticationError: there is no bearer key, or it is none of ``api_keys``.
    """
    scheme, _, given = (authorization or "").partition(" ")
    given = given.strip()
    if scheme.lower() != "bearer" or not given:
        raise AuthenticationError("An API key is required, in the header 'Authorization: Bearer <key>'.")
    # Digests are equally long, and each key is compared, also after one that matched.
    # Header values arrive decoded as Latin-1, whatever their bytes meant.
    digest = _digest(given.encode("latin-1"))
    matches = [hmac.compare_digest(digest, _digest(key.get_secret_value().encode())) for key in api_keys]
    if not any(matches):
        raise AuthenticationError("The API key is not valid.")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
