"""The checks of `manage.py check --tag messaging`: settings with which a process would start, but serve only errors.

They judge settings whose variables are all valid (messaging_site/conf/env.py). Each has an id and a remedy;
docs/configuration.md lists them. An error ends a server or a function at its start.
"""

import re
import stat
from collections.abc import Callable, Iterator
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed

TAG = "messaging"
SECRET_KEY_LENGTH, SECRET_KEY_CHARACTERS = 50, 5  # Django checks the same, but only with --deploy
TABLE_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}")  # DynamoDB's naming rules
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
WEBSOCKET_MODULE = "messaging.transports.apigateway.handler"
ROUTES = {"$connect", "$disconnect", "$default"}

Check = Callable[..., list[CheckMessage]]


def register_all() -> None:
    """Register the checks; called once, when the application starts."""
    for check in (
        table_name,
        endpoint,
        region,
        websocket_module,
        database,
        public_url,
        origins,
        secret_key,
        secret_key_fallbacks,
        traces,
        sessions,
        private_files,
    ):
        checks.register(check, TAG)
    for check in (any_host, plain_origins, one_address, any_proxy):
        checks.register(check, TAG, deploy=True)


def errors() -> list[str]:
    """Return the errors that would keep a process from working, each as one line."""
    found = [message for message in checks.run_checks(tags=[TAG]) if message.is_serious()]
    return [line(message) for message in found]


def line(message: CheckMessage) -> str:
    """Return one line with the problem, the remedy, and the id that the documentation lists."""
    return f"{message.msg} {message.hint} ({message.id})"


def stop_on_errors(get_response: Callable[..., Any]) -> NoReturn:
    """Raise ImproperlyConfigured if a check fails. It is in MIDDLEWARE if no command line checks the settings first."""
    if found := errors():
        raise ImproperlyConfigured("\n".join(found))
    raise MiddlewareNotUsed


def setting(judge: Callable[[], Iterator[CheckMessage]]) -> Check:
    """Return `judge` as a check for Django."""

    def check(**_: Any) -> list[CheckMessage]:
        return [*judge()]

    return check


def on_a_gateway(judge: Callable[[], Iterator[CheckMessage]]) -> Check:
    """Return `judge` as a check that applies only if an API Gateway holds the WebSockets."""

    def check(**_: Any) -> list[CheckMessage]:
        return [*judge()] if settings.WEBSOCKET_API_ENDPOINT is not None else []

    return check


@on_a_gateway
def table_name() -> Iterator[CheckMessage]:
    name = settings.CONNECTIONS_TABLE_NAME
    if not TABLE_NAME.fullmatch(name):
        yield Error(
            f"CONNECTIONS_TABLE_NAME={name!r} is not the name of a DynamoDB table."
            if name
            else "CONNECTIONS_TABLE_NAME is not set.",
            hint="Use the name of the table in aws/template.yaml: 3 to 255 letters, digits, `_`, `-` and `.`.",
            id="messaging.E001",
        )


@on_a_gateway
def endpoint() -> Iterator[CheckMessage]:
    url = settings.WEBSOCKET_API_ENDPOINT or ""
    if not _encrypted(url, "https", "http"):
        yield Error(
            f"WEBSOCKET_API_ENDPOINT={url!r} is not an https URL." if url else "WEBSOCKET_API_ENDPOINT is not set.",
            hint="Set the URL that frames are posted to: https://{api}.execute-api.{region}.amazonaws.com/{stage}",
            id="messaging.E002",
        )


@on_a_gateway
def region() -> Iterator[CheckMessage]:
    name = settings.AWS_REGION
    if not REGION.fullmatch(name):
        yield Error(
            f"AWS_REGION={name!r} is not the name of a region." if name else "AWS_REGION is not set.",
            hint="AWS Lambda sets it. Elsewhere, set it to the region of the table and the gateway: eu-central-1",
            id="messaging.E003",
        )


@on_a_gateway
def websocket_module() -> Iterator[CheckMessage]:
    """Check that each route has a handler: Zappa answers 200 to the events of a route without one."""
    problem = ""
    try:
        import_module(WEBSOCKET_MODULE)
        from zappa.websocket import _registry

        if missing := ROUTES - _registry.keys():
            problem = f"no handler is registered for {', '.join(sorted(missing))}"
    except Exception as error:  # any reason why it can't be imported is reported
        problem = repr(error)
    if problem:
        yield Error(
            f"{WEBSOCKET_MODULE} does not serve the WebSocket: {problem}.",
            hint="Install the packages in requirements-aws.txt, and keep the module's handlers registered with Zappa.",
            id="messaging.E004",
        )


@on_a_gateway
def database() -> Iterator[CheckMessage]:
    if settings.DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
        yield Error(
            "DATABASE_URL names a SQLite file: each Lambda environment would have its own, and lose it when it ends.",
            hint="Use PostgreSQL: postgres://user:password@host:5432/name",
            id="messaging.E005",
        )


@setting
def public_url() -> Iterator[CheckMessage]:
    url = settings.WEBSOCKET_PUBLIC_URL
    https = settings.HTTPS_ONLY or settings.WEBSOCKET_API_ENDPOINT is not None
    if url and https and not _encrypted(url, "wss", "ws"):
        yield Error(
            f"WEBSOCKET_PUBLIC_URL={url!r} is not a wss URL.",
            hint="Browsers let a page that came by https connect only to wss URLs: wss://chat.example.org/ws",
            id="messaging.E006",
        )


@on_a_gateway
def origins() -> Iterator[CheckMessage]:
    if not settings.CSRF_TRUSTED_ORIGINS:
        yield Error(
            "CSRF_TRUSTED_ORIGINS is not set: no browser could open the WebSocket, which has its own host name.",
            hint="List the origins of the pages: https://chat.example.org",
            id="messaging.E007",
        )


def _can_be_guessed(key: str) -> bool:
    return len(key) < SECRET_KEY_LENGTH or len(set(key)) < SECRET_KEY_CHARACTERS


@setting
def secret_key() -> Iterator[CheckMessage]:
    if _can_be_guessed(settings.SECRET_KEY):
        yield Error(
            "SECRET_KEY can be guessed.",
            hint="Anyone who knows this key can log in as any user. Use at least 50 random characters: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(64))'",
            id="messaging.E008",
        )


@setting
def secret_key_fallbacks() -> Iterator[CheckMessage]:
    keys = settings.SECRET_KEY_FALLBACKS
    problems = [f"key {number} can be guessed" for number, key in enumerate(keys, 1) if _can_be_guessed(key)]
    if settings.SECRET_KEY in keys:
        problems.append("SECRET_KEY is among them")
    if len(set(keys)) < len(keys):
        problems.append("one key is there twice")
    if problems:
        yield Error(
            f"SECRET_KEY_FALLBACKS: {'; '.join(problems)}.",
            hint="List other keys than SECRET_KEY, of at least 50 random characters each, separated by commas or in "
            "lines of their own (docs/operations.md).",
            id="messaging.E012",
        )


@setting
def traces() -> Iterator[CheckMessage]:
    try:
        import_module(str(settings.MESSAGING_TRACER["BACKEND"]).rpartition(".")[0])
    except ImportError as error:
        yield Error(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: {error}.",
            hint="Install requirements-otel.txt (docs/observability.md), or set OTEL_SDK_DISABLED=true.",
            id="messaging.E009",
        )


@setting
def sessions() -> Iterator[CheckMessage]:
    if not issubclass(import_module(settings.SESSION_ENGINE).SessionStore, SessionStore):
        yield Error(
            f"SESSION_ENGINE={settings.SESSION_ENGINE!r} does not keep sessions in the database.",
            hint="Staff connections end with their session, whose row has to be found: use django.contrib.sessions."
            "backends.db or cached_db, or a subclass of theirs.",
            id="messaging.E011",
        )


@setting
def static_files() -> Iterator[CheckMessage]:
    """Check that static files exist. A server calls this at its start; `manage.py check` may run before they do."""
    root = settings.STATIC_ROOT
    if settings.SERVICE_ROLE != "websocket" and root and not Path(root, "staticfiles.json").exists():
        yield Error(
            f"STATIC_ROOT={root!r} has no static files: every page would fail.",
            hint="Run `python manage.py collectstatic`, with the same STATIC_ROOT.",
            id="messaging.E010",
        )


@setting
def private_files() -> Iterator[CheckMessage]:
    for path in settings.PRIVATE_FILES:
        if not path.exists() or not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            continue
        yield Warning(
            f"Other accounts on this machine have rights on {path}.",
            hint="It holds what people wrote, or the key that signs their sessions, and belongs to another account. "
            "Have its owner run `chmod 600` on it.",
            id="messaging.W004",
        )


@setting
def any_host() -> Iterator[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS:
        yield Warning(
            "ALLOWED_HOSTS=* accepts every host name.",
            hint="List the site's host names: links in pages and the origin check of WebSockets depend on them.",
            id="messaging.W001",
        )


@setting
def plain_origins() -> Iterator[CheckMessage]:
    wrong = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if not _encrypted(origin, "https", "http")]
    if settings.HTTPS_ONLY and wrong:
        yield Warning(
            f"CSRF_TRUSTED_ORIGINS trusts pages that anyone on the network path can change: {', '.join(wrong)}.",
            hint="Write these origins with https, because HTTPS_ONLY is set.",
            id="messaging.W002",
        )


@setting
def one_address() -> Iterator[CheckMessage]:
    if settings.HTTPS_ONLY and not settings.TRUSTED_PROXY_COUNT and not settings.TRUSTED_PROXIES:
        yield Warning(
            "No proxy is trusted, but HTTPS_ONLY implies one: all clients would seem to have its address, and no "
            "request would seem to have come by https.",
            hint="Set TRUSTED_PROXY_COUNT to the number of proxies that append to X-Forwarded-For, or TRUSTED_PROXIES "
            "to their networks (docs/proxies.md).",
            id="messaging.W003",
        )


@setting
def any_proxy() -> Iterator[CheckMessage]:
    anyone = settings.TRUSTED_PROXY_COUNT and not settings.TRUSTED_PROXIES
    if anyone and settings.WEBSOCKET_API_ENDPOINT is None and ip_address(settings.HOST).is_unspecified:
        yield Warning(
            f"Everybody who reaches port {settings.PORT} can choose an address: TRUSTED_PROXY_COUNT="
            f"{settings.TRUSTED_PROXY_COUNT}, MESSAGING_HOST={settings.HOST}, and TRUSTED_PROXIES is not set.",
            hint="Set TRUSTED_PROXIES to the networks of the proxies, such as 10.0.0.0/8, or let the server listen on "
            "127.0.0.1 if they run on this machine (docs/proxies.md).",
            id="messaging.W005",
        )


def _encrypted(url: str, scheme: str, plain: str) -> bool:
    """Return whether `url` has a host and `scheme`; for this machine, `plain` is enough."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == scheme or (parts.scheme == plain and parts.hostname in LOOPBACK))
