"""The probes `/health` (is the process alive?) and `/ready` (may it get traffic?), and `/metrics`."""

import json
import signal
from ipaddress import ip_address
from typing import Any

from messaging.observability import audit
from messaging.observability.state import readings
from messaging.runtime import runtime
from messaging.service.contracts import StoreUnavailable

PATHS = ("/health", "/ready", "/metrics")
JSON = "application/json"


async def readiness() -> tuple[bool, dict[str, str | bool]]:
    """Return whether this process may get traffic, and the state of each part that it depends on.

    A draining process gets none. The database must answer within the journal's time-out, with the migrations of this
    version. The channel layer is only reported: if every pod left the load balancer while Redis is down, late messages
    would become an outage.
    """
    state = await database()
    layer = "ok" if runtime.hub.layer_up else "degraded"
    draining = runtime.sockets.draining
    return state == "ok" and not draining, {"database": state, "redis": layer, "draining": draining}


async def database() -> str:
    """Return the state of the database: `ok`, `not migrated`, `read-only` or `unavailable`."""
    try:
        if not await runtime.journal.takes_writes():
            return "read-only"
        return "ok" if await runtime.journal.migrated() else "not migrated"
    except StoreUnavailable:
        return "unavailable"


def _is_local(scope: dict[str, Any]) -> bool:
    """Return whether the client is on this machine (in a pod: in this pod). Only such a client may stop the process."""
    client = scope.get("client")
    return client is not None and ip_address(client[0]).is_loopback


async def metrics(accept: str) -> tuple[str, bytes]:
    """Return the content type and the text for a scraper, within the time of a probe even if a backend is down."""
    _, parts = await readiness()
    return runtime.meter.recorder.expose(readings(database_up=parts["database"] != "unavailable"), accept)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer a probe (ASGI) with 200 or 503, and JSON that gives the reasons. `messaging_drain` sends `POST /drain`."""
    if scope["type"] != "http":
        raise ValueError(f"unsupported protocol: {scope['type']}")
    content_type = JSON
    match scope["path"]:
        case "/health":
            status, body = 200, _json(status="alive")
        case "/drain" if scope["method"] == "POST" and _is_local(scope):
            audit.note("drain asked for")
            signal.raise_signal(signal.SIGTERM)
            status, body = 202, _json(status="draining")
        case "/ready":
            ready, parts = await readiness()
            status, body = (200 if ready else 503), _json(status="ready" if ready else "not ready", **parts)
        case "/metrics":
            accept = dict(scope["headers"]).get(b"accept", b"").decode("latin1")
            status, (content_type, body) = 200, await metrics(accept)
        case _:
            status, body = 404, _json(status=f"unknown path; the paths are {', '.join(PATHS)}")
    headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _json(**parts: str | bool) -> bytes:
    return json.dumps(parts).encode()
