"""The probes `/health` (is the process alive?) and `/ready` (may it get traffic?), `/metrics` and `/addresses`."""

import asyncio
import contextlib
import json
import re
import signal
from dataclasses import asdict
from typing import Any

from messaging.backends.base import Addresses, ConnectionStore, Limiter
from messaging.journal.reader import DatabaseState
from messaging.observability import audit
from messaging.observability.state import readings
from messaging.runtime import runtime
from messaging.service.contracts import StoreUnavailable
from messaging.transports.channels.crowd import crowd
from messaging.transports.client_address import parsed

PATIENCE_SECONDS = 1.0  # for Redis: the database has 2, and a probe of Kubernetes waits for 3
PATHS = ("/health", "/ready", "/metrics", "/addresses")
# `messaging_drain` sends this header. A web page can't: a browser would ask first, and the answer is 404.
DRAIN_HEADER = "X-Messaging-Drain"
LOCALHOST = re.compile(r"localhost(:\d+)?")
JSON = "application/json"


async def readiness() -> tuple[bool, dict[str, str | bool]]:
    """Return whether this process may get traffic, and the state of each part that it depends on.

    A draining process gets none. The database must answer within the journal's time-out, with the migrations of this
    version. Redis is only reported: if every pod left the load balancer while it is down, late messages would become an
    outage. It is asked at the same time, for all that this process needs of it.
    """
    state, fault = await asyncio.gather(database(), _fault_of_redis())
    draining = runtime.sockets.draining
    parts = {"database": state, "redis": "degraded" if fault else "ok", "draining": draining}
    return state == "ok" and not draining, parts


async def _fault_of_redis() -> bool:
    """Return whether the channel layer, the connection store, the limits or the addresses fail.

    The hub tests the layer by itself, every few seconds: over a network that swallows everything, a test can take
    longer than a probe waits.
    """
    backends = (runtime.store, runtime.limiter, runtime.addresses)
    faults = await asyncio.gather(*(_fault(backend) for backend in backends))
    return any(faults) or not runtime.hub.layer_up


async def _fault(backend: ConnectionStore | Limiter | Addresses) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await backend.rehearse()
    except (StoreUnavailable, TimeoutError):
        return True
    return False


async def database() -> str:
    """Return the state of the database: `ok`, `not migrated`, `read-only` or `unavailable`."""
    try:
        if not await runtime.journal.takes_writes():
            return "read-only"
        return "ok" if await runtime.journal.migrated() else "not migrated"
    except StoreUnavailable:
        return "unavailable"


def _is_local(scope: dict[str, Any]) -> bool:
    """Return whether the client is on this machine (in a pod: in this pod). Only such a client may stop the process.

    Its address is a loopback one, or the address of this machine to which it has connected.
    """
    if not scope.get("client") or not scope.get("server"):
        return False
    client, server = parsed(scope["client"][0]), parsed(scope["server"][0])
    return client is not None and (client.is_loopback or client == server)


def _is_drain(scope: dict[str, Any]) -> bool:
    """Return whether this is the request of `messaging_drain` on this machine, and not of a web page in a browser.

    The page could be of any site, and its host name could lead to this machine; an address leads to no other one.
    """
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    named = LOCALHOST.fullmatch(host) is not None or parsed(host) is not None
    by_command = DRAIN_HEADER.lower().encode() in headers and b"origin" not in headers
    return scope["method"] == "POST" and _is_local(scope) and named and by_command


async def metrics(accept: str) -> tuple[str, bytes]:
    """Return the content type and the text for a scraper, within the time of a probe even if a backend is down."""
    _, parts = await readiness()
    up, state = parts["database"] != "unavailable", DatabaseState()
    if up:
        with contextlib.suppress(StoreUnavailable):  # its values are unknown then, and exposed as such
            state = await runtime.journal.database_state()
    return runtime.meter.recorder.expose(readings(database_up=up, database=state), accept)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer a probe (ASGI) with 200 or 503, and JSON that gives the reasons. `messaging_drain` sends `POST /drain`."""
    if scope["type"] != "http":
        raise ValueError(f"unsupported protocol: {scope['type']}")
    content_type = JSON
    match scope["path"]:
        case "/health":
            status, body = 200, _json(status="alive")
        case "/drain" if _is_drain(scope):
            audit.note("drain asked for")
            signal.raise_signal(signal.SIGTERM)
            status, body = 202, _json(status="draining")
        case "/ready":
            ready, parts = await readiness()
            status, body = (200 if ready else 503), _json(status="ready" if ready else "not ready", **parts)
        case "/metrics":
            accept = dict(scope["headers"]).get(b"accept", b"").decode("latin1")
            status, (content_type, body) = 200, await metrics(accept)
        case "/addresses":
            seen = crowd(runtime.sockets)
            status, body = 200, _json(**asdict(seen), warning=seen.warning(seen.sign()))
        case _:
            status, body = 404, _json(status=f"unknown path; the paths are {', '.join(PATHS)}")
    headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-store")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _json(**parts: str | float | None) -> bytes:
    return json.dumps(parts).encode()
