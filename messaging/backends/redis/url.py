"""The URLs of Redis, in the same forms for the connection store and the channel layer. Pure."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

FORMS = (
    "redis[s]://[:password@]host:port/db, redis[s]+sentinel://[:password@]host:port,host:port/master/db "
    "or redis[s]+cluster://[:password@]host:port,host:port, special characters in the password percent-encoded (# as "
    "%23, ? as %3F, / as %2F)"
)


@dataclass(frozen=True, slots=True)
class RedisURL:
    """A parsed URL. `kind`: single, sentinel or cluster. `nodes`: the servers to ask first."""

    kind: str
    nodes: tuple[tuple[str, int], ...]
    tls: bool = False
    username: str | None = None
    password: str | None = None
    db: int = 0
    master: str = ""


def parse_redis_url(text: str, password: str | None = None) -> RedisURL:
    """Parse `text`. `password` is used if the URL has none. Raise ValueError if it is in none of FORMS."""
    parts = urlsplit(text)
    scheme, _, kind = parts.scheme.partition("+")
    kind = kind or "single"
    credentials, _, hosts = parts.netloc.rpartition("@")
    path = [part for part in parts.path.split("/") if part]
    if scheme not in ("redis", "rediss") or kind not in ("single", "sentinel", "cluster") or not hosts:
        raise ValueError(f"must have the form {FORMS}")
    master = path.pop(0) if kind == "sentinel" and path else ""
    if (kind == "sentinel" and not master) or len(path) > 1 or not all(part.isdigit() for part in path):
        raise ValueError(f"must have the form {FORMS}")
    name, _, secret = credentials.partition(":")
    return RedisURL(
        kind=kind,
        nodes=tuple(_node(host, 26379 if kind == "sentinel" else 6379) for host in hosts.split(",")),
        tls=scheme == "rediss",
        username=unquote(name) or None,
        password=unquote(secret) or password,
        db=int(path[0]) if path else 0,
        master=master,
    )


def sentinel_options(url: RedisURL, timeout: float) -> dict[str, Any]:
    """Return redis-py's options for the sentinels of `url`: each is asked once, for at most `timeout` seconds.

    `rediss+sentinel` means TLS for the sentinels too. They are asked without a password: theirs is seldom that of the
    data servers.
    """
    return {
        "ssl": url.tls,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": None,
        "protocol": 2,
    }


def _node(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        return parts.hostname or "localhost", parts.port or default_port
    except ValueError:
        raise ValueError(f"must have the form {FORMS}") from None
