"""Errors as the ``openai`` package reads them."""

import pytest

from qwenvl.api.errors import (
    BodyTimeoutError,
    DeadlineError,
    DrainingError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    describe,
    headers_of,
    status_of,
)
from qwenvl.errors import EngineBusyError, EngineDeadError


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (RateLimitError("m", kind="tokens", retry_after=1), 429, "tokens", "rate_limit_exceeded"),
        (RateLimitError("m", kind="requests", retry_after=1), 429, "requests", "rate_limit_exceeded"),
        (OverloadedError("m", code="queue_full", retry_after=1), 503, "server_error", "queue_full"),
        (DeadlineError(5), 503, "server_error", "deadline_exceeded"),
        (DrainingError(), 503, "server_error", "server_stopping"),
        (EngineBusyError("m"), 503, "server_error", "engine_busy"),
        (EngineDeadError("m"), 503, "server_error", "engine_dead"),
        (PermissionDeniedError("m"), 403, "permission_error", "insufficient_permissions"),
        (BodyTimeoutError(5), 408, "invalid_request_error", "request_timeout"),
    ],
)
def test_shapes(error: Exception, status: int, kind: str, code: str) -> None:
    body = describe(error).error
    assert (status_of(error), body.type, body.code) == (status, kind, code)
    assert body.message


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (59.5, "60")])
def test_retry_after_is_whole_seconds_rounded_up(seconds: float, header: str) -> None:
    assert headers_of(RateLimitError("m", kind="requests", retry_after=seconds)) == {"Retry-After": header}


def test_what_never_fits_is_not_to_be_repeated() -> None:
    assert headers_of(RateLimitError("m", kind="tokens", retry_after=None)) == {"x-should-retry": "false"}
