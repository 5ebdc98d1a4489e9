"""Django's LOGGING: one handler, one form, and which libraries say too much."""

import socket
from typing import Any

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def configuration(level: str, *, text: bool, role: str, version: str) -> dict[str, Any]:
    """Lines from `level` on: `text` for people, else JSON that says which `version` in which `role` wrote it."""
    service = {"service": role, "version": version, "host": socket.gethostname()}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"()": "messaging.observability.logs.TextFormatter"},
            "json": {"()": "messaging.observability.logs.JSONFormatter", "service": service},
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "text" if text else "json"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "daphne": {"level": "WARNING"},
            "botocore": {"level": "WARNING"},  # at DEBUG it logs every request, and with it what people wrote
            "zappa.handler": {"level": "WARNING"},  # the same of every event
            "zappa.wsgi": {"level": "WARNING"},  # it logs the address of everybody who asks for a page
            "django.security.DisallowedHost": {"level": "CRITICAL"},  # a traceback for every scanner; it gets its 400
            "channels_redis": {"level": "CRITICAL"},  # a traceback a second while Redis is down; the hub says it once
        },
    }
