"""The formats of log lines: a JSON object for machines, text for people. Both have the same fields.

The fields are the `extra` of the log call and the ids of the connection, request and frame that it served.
"""

import logging
import time
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from messaging.observability.context import bound

# The attributes that every record has; all others are `extra`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Attributes that Django, daphne and Zappa attach but that are not fields: objects with whole requests in them.
_OBJECTS = frozenset({"request", "server_time"})


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of `record`: the ids of the context and its `extra`."""
    extra = {name: value for name, value in vars(record).items() if name not in _OWN and not _is_object(name, value)}
    return {**bound(), **extra}


def _is_object(name: str, value: Any) -> bool:
    return name in _OBJECTS and not isinstance(value, str)


class Refusals(logging.Filter):
    """A filter that turns errors about a request into warnings without a traceback if its client got a 4xx.

    Django logs some of them as errors of the server, but a client can cause any number of them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if 400 <= getattr(record, "status_code", 0) < 500:
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class JSONFormatter(JsonFormatter):
    """One JSON object per line, in printable ASCII only. `service`: the fields that identify this process."""

    def __init__(self, *, service: dict[str, str]) -> None:
        super().__init__()
        self._service = service

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        log_data |= {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._service,
            **fields(record),
        }
        log_data |= {name: message_dict[name] for name in ("exc_info", "stack_info") if message_dict.get(name)}


class TextFormatter(logging.Formatter):
    """`time LEVEL logger: message name=value`, with a traceback below it."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        return _printable(line + "".join(f" {name}={_value(value)}" for name, value in fields(record).items()))


def _value(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)


def _printable(line: str) -> str:
    """Return `line` with unprintable characters escaped: terminals obey some, and others would begin a second line."""
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
