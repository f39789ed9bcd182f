"""Tracebacks for the log, without what requests said.

The message of an exception may quote the value that caused it: a ``ValueError`` of a library the text that it could not
read, pydantic's ``ValidationError`` its whole input. So messages are shown of such exceptions alone as speak of the
server. The type and the lines of code are shown of all.
"""

import traceback
from collections.abc import Iterator

from qwenvl.errors import QwenVLError, UserError

_SPEAK_OF_THE_SERVER = (QwenVLError, OSError, MemoryError, ImportError, AttributeError, TypeError)


def format_exception(error: BaseException) -> str:
    """The exception with its causes, the last one at the end, as Python prints them."""
    return "\n".join(line for part in _chain(error) for line in part)


def describe_exception(error: BaseException) -> str:
    """Its type, and its message where that is known to hold nothing of a request."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    shown = isinstance(error, _SPEAK_OF_THE_SERVER) and not isinstance(error, UserError)
    return f"{name}: {error}" if shown and str(error) else name


def _chain(error: BaseException) -> Iterator[list[str]]:
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    for cause in reversed(seen):
        yield from _single(cause)


def _single(error: BaseException) -> Iterator[list[str]]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _chain(inner)
    frames = "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    yield ["Traceback (most recent call last):", frames, describe_exception(error)]
