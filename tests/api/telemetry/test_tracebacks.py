import pytest
from pydantic import TypeAdapter

from qwenvl.api.telemetry.tracebacks import describe_exception, format_exception
from qwenvl.errors import EngineError, UserError


def raised(error: Exception, cause: BaseException | None = None) -> Exception:
    """The error with a traceback."""
    try:
        raise error
    except Exception as caught:
        if cause is not None:
            caught.__cause__ = cause
        return caught


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (ValueError("secret"), "ValueError"),
        (KeyError("secret"), "KeyError"),
        (RuntimeError("secret"), "RuntimeError"),
        (UnicodeEncodeError("ascii", "sécret", 1, 2, "not ASCII"), "UnicodeEncodeError"),
        (UserError("secret"), "qwenvl.errors.UserError"),
        (EngineError("the engine died"), "qwenvl.errors.EngineError: the engine died"),
        (OSError(28, "No space left"), "OSError: [Errno 28] No space left"),
        (TypeError("f() takes no arguments"), "TypeError: f() takes no arguments"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_messages_of_the_server_alone(error: Exception, description: str) -> None:
    assert describe_exception(error) == description


def test_pydantic_shows_no_input() -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        TypeAdapter(int).validate_python("secret")
    assert "secret" not in describe_exception(caught.value)


def test_causes_contexts_and_groups() -> None:
    cause = raised(OSError("the cause"))
    group = raised(ExceptionGroup("secret", [raised(EngineError("inner")), raised(ValueError("secret"))]), cause)
    text = format_exception(group)
    order = [text.index(part) for part in ("the cause", "EngineError: inner", "ValueError", "ExceptionGroup")]
    assert order == sorted(order)
    assert "secret" not in text.replace("raised(ValueError", "")
    assert "in raised" in text


def test_a_suppressed_context_is_not_shown() -> None:
    error = raised(EngineError("shown"))
    error.__context__ = OSError("the context")
    assert "the context" in format_exception(error)
    error.__suppress_context__ = True
    assert "the context" not in format_exception(error)


def test_circles_end() -> None:
    error, other = EngineError("one"), EngineError("two")
    error.__cause__, other.__cause__ = other, error
    assert format_exception(error).count("EngineError") == 2
