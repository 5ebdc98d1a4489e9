"""What `manage.py check --tag messaging` judges: settings that let a process start and then fail everything it serves.

Most wrong values end the process at once (messaging_site/env.py). The ones here are told together, each with its id and
what to do about it; docs/configuration.md lists them.
"""

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NoReturn
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed

TAG = "messaging"
TABLE_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}")  # DynamoDB's naming rules
LOOPBACK = ("localhost", "127.0.0.1", "::1")
WEBSOCKET_MODULE = "messaging.transports.apigateway"
ROUTES = {"$connect", "$disconnect", "$default"}

Check = Callable[..., list[CheckMessage]]


def register_all() -> None:
    """Called once, by the application."""
    for check in (table_name, endpoint, region, websocket_module, database, public_url, origins):
        checks.register(check, TAG)


def stop_on_errors(get_response: Callable[..., Any]) -> NoReturn:
    """In MIDDLEWARE, where no command line checks the settings first: a process that would fail one does not start."""
    errors = [str(message) for message in checks.run_checks(tags=[TAG]) if message.is_serious()]
    if errors:
        raise ImproperlyConfigured("\n".join(errors))
    raise MiddlewareNotUsed


def on_a_gateway(judge: Callable[[], Iterator[Error]]) -> Check:
    """A check of settings that count only where an API Gateway holds the WebSockets."""

    def check(**_: Any) -> list[CheckMessage]:
        return [*judge()] if settings.MESSAGING_STATES else []

    return check


@on_a_gateway
def table_name() -> Iterator[Error]:
    name = settings.CONNECTIONS_TABLE_NAME
    if not TABLE_NAME.fullmatch(name):
        yield Error(
            f"CONNECTIONS_TABLE_NAME={name!r} is not the name of a DynamoDB table."
            if name
            else "CONNECTIONS_TABLE_NAME is not set.",
            hint="3 to 255 letters, digits, `_`, `-` and `.`: the table that aws/template.yaml makes.",
            id="messaging.E001",
        )


@on_a_gateway
def endpoint() -> Iterator[Error]:
    url = settings.WEBSOCKET_API_ENDPOINT
    if not _encrypted(url, "https", "http"):
        yield Error(
            f"WEBSOCKET_API_ENDPOINT={url!r} is not an https URL." if url else "WEBSOCKET_API_ENDPOINT is not set.",
            hint="Frames are posted there: https://{api}.execute-api.{region}.amazonaws.com/{stage}",
            id="messaging.E002",
        )


@on_a_gateway
def region() -> Iterator[Error]:
    if not settings.AWS_REGION:
        yield Error(
            "AWS_REGION is not set.",
            hint="AWS Lambda sets it. Elsewhere, set it to the region of the table and the gateway: eu-central-1",
            id="messaging.E003",
        )


@on_a_gateway
def websocket_module() -> Iterator[Error]:
    """Zappa answers 200 to every event of a WebSocket whose route nobody has registered."""
    problem = ""
    try:
        import_module(WEBSOCKET_MODULE)
        from zappa.websocket import _registry

        if missing := ROUTES - _registry.keys():
            problem = f"nothing is registered for {', '.join(sorted(missing))}"
    except Exception as error:  # whatever keeps it from being imported is what is to be told
        problem = repr(error)
    if problem:
        yield Error(
            f"{WEBSOCKET_MODULE} does not serve the WebSocket: {problem}.",
            hint="Install what requirements-aws.txt names, and keep the module's handlers registered with Zappa.",
            id="messaging.E004",
        )


@on_a_gateway
def database() -> Iterator[Error]:
    if settings.DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
        yield Error(
            "DATABASE_URL names a SQLite file: each function would have one of its own, for a while.",
            hint="Use PostgreSQL: postgres://user:password@host:5432/name",
            id="messaging.E005",
        )


@on_a_gateway
def public_url() -> Iterator[Error]:
    url = settings.WEBSOCKET_PUBLIC_URL or ""
    if not _encrypted(url, "wss", "ws"):
        yield Error(
            f"WEBSOCKET_PUBLIC_URL={url!r} is not a wss URL.",
            hint="Browsers connect there: wss://{api}.execute-api.{region}.amazonaws.com/{stage}",
            id="messaging.E006",
        )


@on_a_gateway
def origins() -> Iterator[Error]:
    if not settings.CSRF_TRUSTED_ORIGINS:
        yield Error(
            "CSRF_TRUSTED_ORIGINS is not set: no browser may open the WebSocket, which has a host of its own.",
            hint="Name the origins of the pages: https://chat.example.org",
            id="messaging.E007",
        )


def _encrypted(url: str, scheme: str, plain: str) -> bool:
    """Whether `url` has a host and `scheme`; `plain` will do on this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == scheme or (parts.scheme == plain and parts.hostname in LOOPBACK))
