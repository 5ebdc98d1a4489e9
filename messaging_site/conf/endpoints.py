"""The addresses of services in the environment, as Django, Channels and browsers take them.

Each function raises ImproperlyConfigured that names the variable and the form that is right.
"""

from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from messaging.backends.redis.url import parse_redis_url, sentinel_options

# A connection that was cut without a word is given up after some 10 s (libpq's parameters), not after TCP's 15 minutes.
GIVE_UP_SILENCE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 2, "tcp_user_timeout": 5000}
DATABASE_FORM = "postgres://user:password@host:5432/name"
ENCRYPTED = ("require", "verify-ca", "verify-full")  # libpq's sslmodes that never go without TLS
# The channel layer asks one Sentinel after the other, and a publish has a second: two of them may be silent so long.
SENTINEL_SECONDS = 0.4


def database(url: str, *, sqlite_allowed: bool, tls: bool) -> dict[str, Any]:
    """DATABASE_URL as an entry of Django's DATABASES. `tls`: PostgreSQL is spoken to over TLS alone."""
    try:
        entry: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
    except (ValueError, dj_database_url.ParseError) as error:
        raise ImproperlyConfigured(f"DATABASE_URL must be {DATABASE_FORM}") from error
    if "postgresql" in entry["ENGINE"]:
        # Bound by the server, values stay out of the statements that PostgreSQL logs when one fails.
        options: dict[str, Any] = {"connect_timeout": 2, "server_side_binding": True} | GIVE_UP_SILENCE
        if tls:
            options["sslmode"] = "require"
        options |= entry.get("OPTIONS", {})
        if tls and options["sslmode"] not in ENCRYPTED:
            raise ImproperlyConfigured(f"DATABASE_URL: sslmode must be one of {', '.join(ENCRYPTED)} here")
        entry["OPTIONS"] = options
    elif "sqlite3" in entry["ENGINE"] and sqlite_allowed:
        # FULL: a commit is on the disk when it returns, and so when its ack is sent.
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        entry["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 5, "init_command": pragmas}
    else:
        raise ImproperlyConfigured(f"DATABASE_URL must name a PostgreSQL database here: {DATABASE_FORM}")
    return entry


def channel_layer_host(text: str, password: str | None) -> dict[str, Any]:
    """REDIS_URL as channels-redis takes it. A cluster hands what is published on any node to all of them."""
    try:
        url = parse_redis_url(text, password)
    except ValueError as error:
        raise ImproperlyConfigured(f"REDIS_URL {error}") from error
    host: dict[str, Any] = {
        "username": url.username,
        "password": url.password,
        "db": url.db,
        # Not redis-py's own 5 s: it equals the poll of some layers, and kills sockets that are merely idle.
        "socket_timeout": 15,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "protocol": 2,  # with 3, redis-py makes text of all that it hears, for a line of its log
    }
    if url.kind == "sentinel":
        sentinels = {"sentinels": list(url.nodes), "sentinel_kwargs": sentinel_options(url, SENTINEL_SECONDS)}
        return {**host, **sentinels, "master_name": url.master, "ssl": url.tls}
    name, port = url.nodes[0]
    return {**host, "address": f"{'rediss' if url.tls else 'redis'}://{name}:{port}"}


def websocket_origins(url: str | None) -> list[str]:
    """The origin of WEBSOCKET_PUBLIC_URL, for the content security policy; none where the pages' own will do."""
    if url is None:
        return []
    parts = urlsplit(url)
    return [f"{parts.scheme}://{parts.netloc}"]
