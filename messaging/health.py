"""Two questions. `/health`: is the process alive? `/ready`: may it get traffic? (docs/architecture.md)"""

import json
from typing import Any

from messaging.contracts import StoreUnavailable
from messaging.runtime import get_hub, get_log

PATHS = ("/health", "/ready")


async def readiness() -> tuple[bool, dict[str, str]]:
    """Whether this process may get traffic, and the state of what it depends on.

    The database is asked, for as long as the log waits at most. The channel layer is only reported: it carries hints,
    and were every pod to leave the load balancer when Redis is down, an outage of hints would be one of everything.
    """
    try:
        await get_log().ping()
        database = "ok"
    except StoreUnavailable:
        database = "unavailable"
    layer = "ok" if get_hub().layer_up else "degraded"
    return database == "ok", {"database": database, "redis": layer}


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application of the two probes: 200 or 503, and JSON that says why."""
    if scope["type"] != "http":
        raise ValueError(f"no {scope['type']} here")
    match scope["path"]:
        case "/health":
            status, body = 200, {"status": "alive"}
        case "/ready":
            ready, parts = await readiness()
            status, body = (200 if ready else 503), {"status": "ready" if ready else "not ready", **parts}
        case _:
            status, body = 404, {"status": f"unknown path; there are {', '.join(PATHS)}"}
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
