"""The addresses of services in the environment, in the forms that Django, Channels and browsers expect.

Functions raise ImproperlyConfigured, with the variable and its valid form, if an address is wrong.
"""

import re
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from messaging.backends.redis.timeouts import (
    LAYER_CONNECT_SECONDS,
    LAYER_HEALTH_SECONDS,
    LAYER_SECONDS,
    SENTINEL_SECONDS,
)
from messaging.backends.redis.url import parse_redis_url, sentinel_options

# A connection that breaks silently is given up after some 10 s (libpq's parameters), not after TCP's 15 minutes.
GIVE_UP_SILENCE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 2, "tcp_user_timeout": 5000}
DATABASE_FORM = "postgres://user:password@host:5432/name"
ENCODED = "special characters in it percent-encoded (# as %23, ? as %3F, / as %2F, @ as %40)"
KEY_PREFIX = re.compile(r"[A-Za-z0-9._:-]{0,64}")
ENCRYPTED = ("require", "verify-ca", "verify-full")  # libpq's sslmodes that always use TLS


def database(url: str, *, sqlite_allowed: bool, tls: bool) -> dict[str, Any]:
    """Return DATABASE_URL as an entry of Django's DATABASES. `tls`: connect to PostgreSQL only over TLS."""
    try:
        entry: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
    except (ValueError, dj_database_url.ParseError) as error:
        raise ImproperlyConfigured(f"DATABASE_URL must have the form {DATABASE_FORM}, {ENCODED}") from error
    if "postgresql" in entry["ENGINE"]:
        if not entry["NAME"]:
            raise ImproperlyConfigured(f"DATABASE_URL must name a database: {DATABASE_FORM}")
        # The server binds values, so that they stay out of the failed statements that PostgreSQL logs.
        options: dict[str, Any] = {"connect_timeout": 2, "server_side_binding": True} | GIVE_UP_SILENCE
        if tls:
            options["sslmode"] = "require"
        options |= entry.get("OPTIONS", {})
        if tls and options["sslmode"] not in ENCRYPTED:
            raise ImproperlyConfigured(f"DATABASE_URL: sslmode must be one of {', '.join(ENCRYPTED)} in this mode")
        entry["OPTIONS"] = options
        # A pooler may give each transaction to another session, and a server-side cursor would stay in the first one.
        entry["DISABLE_SERVER_SIDE_CURSORS"] = True
    elif "sqlite3" in entry["ENGINE"] and sqlite_allowed:
        # FULL: a commit is on the disk when it returns, and so before its ack is sent.
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        entry["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 5, "init_command": pragmas}
    else:
        raise ImproperlyConfigured(f"DATABASE_URL must name a PostgreSQL database in this mode: {DATABASE_FORM}")
    return entry


def channel_layer_host(text: str, password: str | None) -> dict[str, Any]:
    """Return REDIS_URL as a host of channels-redis. Any node of a cluster will do: it passes publishes on to all."""
    try:
        url = parse_redis_url(text, password)
    except ValueError as error:
        raise ImproperlyConfigured(f"REDIS_URL {error}") from error
    host: dict[str, Any] = {
        "username": url.username,
        "password": url.password,
        "db": url.db,
        "socket_timeout": LAYER_SECONDS,
        "socket_connect_timeout": LAYER_CONNECT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": LAYER_HEALTH_SECONDS,
        "protocol": 2,  # with 3, redis-py formats all that it receives, for a log line
    }
    if url.kind == "sentinel":
        sentinels = {"sentinels": list(url.nodes), "sentinel_kwargs": sentinel_options(url, SENTINEL_SECONDS)}
        return {**host, **sentinels, "master_name": url.master, "ssl": url.tls}
    name, port = url.nodes[0]
    return {**host, "address": f"{'rediss' if url.tls else 'redis'}://{name}:{port}"}


def key_prefix(text: str) -> str:
    """Return REDIS_KEY_PREFIX if it can't be mistaken for a pattern or a hash tag of Redis."""
    if not KEY_PREFIX.fullmatch(text):
        raise ImproperlyConfigured(f"REDIS_KEY_PREFIX={text!r} must be up to 64 letters, digits, `.`, `_`, `:` and `-`")
    return text


def websocket_origins(url: str | None) -> list[str]:
    """Return the origin of WEBSOCKET_PUBLIC_URL, for the content security policy; none if the pages' own is used."""
    if url is None:
        return []
    parts = urlsplit(url)
    return [f"{parts.scheme}://{parts.netloc}"]
