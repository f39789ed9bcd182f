"""Browsers on other origins (CORS): refused unless an operator names the origins."""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

EXPOSED_HEADERS = (
    "x-request-id",
    "retry-after",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
)
"""What a page's script may read of a response besides the usual."""


def cross_origin(origins: Sequence[str]) -> list[Middleware]:
    """The middleware for pages of these origins, ``*`` for all; none for none.

    It stands before the keys are checked: browsers ask beforehand, without a key. Cookies are not let through, since
    a key is all that tells a caller.
    """
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=list(EXPOSED_HEADERS),
        )
    ]
