"""What is noted about one request on its way, and the request that is being worked on."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol


class Trace(Protocol):
    """The spans of one request."""

    @property
    def headers(self) -> Mapping[str, str]:
        """W3C trace context for whoever works on the request."""

    def part(self, name: str) -> AbstractContextManager[None]:
        """A span below the request's, as long as the block."""


class NoTrace:
    """Where no spans are wanted."""

    headers: Mapping[str, str] = {}

    def part(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()


NO_TRACE = NoTrace()


@dataclass(slots=True)
class RequestRecord:
    """Numbers and names of one request, never its content.

    Attributes:
        started: when the request began, on the clock of ``time.perf_counter``.
        request_id: as in the response's ``x-request-id``.
        model: as the client names it, whether it is served or not; empty where it names none.
        images: loaded for the request.
        prompt_tokens, completion_tokens: of all its generations.
        time_to_first_token: seconds from ``started``; None before the first token.
        error_code: of the error that answered it, or ended its stream.
    """

    started: float = field(default_factory=perf_counter)
    request_id: str = ""
    model: str = ""
    images: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    time_to_first_token: float | None = None
    error_code: str | None = None
    trace: Trace = NO_TRACE


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request over HTTP ended.

    Attributes:
        route: template of the route's path, or ``other`` where the request reached none of the API.
        model: that the request named, ``unknown`` where it is not served; empty where it named none.
        status: of the response; 499 where the client left before it.
        aborted: the client left before the answer was complete.
        duration: seconds from the request's headers to the last byte of the answer.
    """

    method: str
    route: str
    model: str
    status: int
    aborted: bool
    duration: float


_current: ContextVar[RequestRecord | None] = ContextVar("qwenvl_request", default=None)


def current_record() -> RequestRecord | None:
    """The record of the request that this task or thread works on; None outside of any."""
    return _current.get()


@contextmanager
def working_on(record: RequestRecord) -> Iterator[None]:
    """Make ``record`` the current one in the block, and in the tasks and threads started there."""
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)


def note_error(code: str) -> None:
    """Note the error that the current request is answered with."""
    if (record := _current.get()) is not None:
        record.error_code = code


def note_model(name: str) -> None:
    """Note the model that the current request names."""
    if (record := _current.get()) is not None:
        record.model = name
