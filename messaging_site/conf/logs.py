"""Django's LOGGING: one handler, one format, and levels for libraries that log too much."""

import socket
from typing import Any

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def configuration(level: str, *, text: bool, role: str, version: str) -> dict[str, Any]:
    """Return LOGGING for lines of `level` and above: text for people if `text`, else JSON with `role` and `version`."""
    service = {"service": role, "version": version, "host": socket.gethostname()}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"()": "messaging.observability.logs.TextFormatter"},
            "json": {"()": "messaging.observability.logs.JSONFormatter", "service": service},
        },
        "filters": {"refusals": {"()": "messaging.observability.logs.Refusals"}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "filters": ["refusals"],
                "formatter": "text" if text else "json",
            },
            "swallowed": {"class": "messaging.transports.channels.swallowed.Handler"},
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "daphne": {"level": "WARNING"},
            "twisted": {"level": "ERROR"},
            "botocore": {"level": "WARNING"},  # at DEBUG it logs every request, with the text of messages
            "zappa.handler": {"level": "WARNING"},  # it logs every event, likewise
            "zappa.wsgi": {"level": "WARNING"},  # it logs the address of every client that requests a page
            "django.security.DisallowedHost": {"level": "CRITICAL"},  # one for every scanner
            "channels_redis": {"level": "ERROR", "handlers": ["swallowed"], "propagate": False},
        },
    }
