"""The log: text for people or JSON for machines, one line for each event, and nothing that a request said."""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter as BaseJsonFormatter

from qwenvl.api.telemetry.record import Outcome, RequestRecord, current_record
from qwenvl.api.telemetry.tracebacks import format_exception

access_logger = logging.getLogger("qwenvl.access")

LOGGERS = ("qwenvl", "vllm", "uvicorn")
"""Whose lines are logged from the set level on. Other packages log from warnings on: at lower levels they write of what
passes through them, such as the events of a stream or the headers of a fetched image."""

ROUTINE = frozenset({"/health", "/ready", "/metrics", "/web/{version}/{name}"})
"""Routes that machines ask every few seconds, and the page's files, of which a browser asks for dozens. Where all is
well they are logged at debug."""

JSON_FIELDS = ("asctime", "levelname", "name", "processName", "process", "message")
"""As vLLM names them in its own JSON lines, so that a log has one form."""

TEXT_FORMAT = "%(levelname)s %(asctime)s [%(name)s] %(message)s"

_FIELDS = "fields"
_HANDLER = "qwenvl"
# What a terminal or a reader of lines could take for more than text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure_logging(log_format: str, log_level: str, stream: TextIO | None = None) -> None:
    """Set up this process's log, on ``stream`` or stderr. vLLM sets up its own loggers when its engine starts.

    Args:
        log_format, log_level: as in the settings.
    """
    level = logging.getLevelNamesMapping()[log_level.upper()]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.set_name(_HANDLER)
    root = logging.getLogger()
    for old in [installed for installed in root.handlers if installed.name == _HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))
    for name in LOGGERS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(log_format == "json")


def log_access(record: RequestRecord, outcome: Outcome, *, caller: str, client: str) -> None:
    """The line for a request that is over."""
    routine = outcome.route in ROUTINE and outcome.status < 400
    level = logging.DEBUG if routine else logging.INFO
    if not access_logger.isEnabledFor(level):
        return
    first_token = record.time_to_first_token
    fields = {
        "method": outcome.method,
        "route": outcome.route,
        "status": outcome.status,
        "duration": round(outcome.duration, 4),
        "time_to_first_token": None if first_token is None else round(first_token, 4),
        "model": outcome.model or None,
        "prompt_tokens": record.prompt_tokens or None,
        "completion_tokens": record.completion_tokens or None,
        "images": record.images or None,
        "error_code": record.error_code,
        "aborted": outcome.aborted or None,
        "caller": caller,
        "client": client,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    access_logger.log(level, "request", extra={_FIELDS: known})


class TextFormatter(logging.Formatter):
    """One line for people. Fields come last, as ``name=value``; control characters are escaped."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return _escaped(super().formatMessage(record) + fields)

    def formatException(self, ei: Any) -> str:
        return format_exception(ei[1])


class JsonFormatter(BaseJsonFormatter):
    """One JSON object a line; a traceback is its field ``exc_info``."""

    def __init__(self) -> None:
        super().__init__(JSON_FIELDS, reserved_attrs=())

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        for name in JSON_FIELDS:
            log_data[name] = getattr(record, name)
        log_data.update(_fields(record))
        log_data.update(message_dict)

    def formatException(self, ei: Any) -> str:
        return format_exception(ei[1])


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    """The line's own fields, after the id of the request that is being worked on."""
    request = current_record()
    own: Mapping[str, Any] = record.__dict__.get(_FIELDS, {})
    return own if request is None else {"request_id": request.request_id, **own}


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
