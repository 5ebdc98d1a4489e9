"""A program that feeds the first events to an unpacked package, as Lambda does, and prints the modules they load.

Run it in the package's directory. No database and no AWS service answers, so WebSocket events end in errors; it matters
only that everything they need can be imported.
"""

import importlib
import json
import logging
import sys
from pathlib import Path

HTTP = {
    "version": "2.0",
    "rawPath": "/admin/login/",
    "rawQueryString": "",
    "headers": {"host": "unused.example.org", "x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1"},
    "requestContext": {
        "stage": "$default",
        "http": {"method": "GET", "path": "/admin/login/", "sourceIp": "192.0.2.1", "protocol": "HTTP/1.1"},
    },
    "isBase64Encoded": False,
}
ROUTES = {"CONNECT": "$connect", "MESSAGE": "$default", "DISCONNECT": "$disconnect"}


class Context:
    """The parts of Lambda's context object that the function reads."""

    aws_request_id = "rehearsal"

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def websocket(kind: str, body: str = '{"action":"ping"}') -> dict[str, object]:
    """Return an event of a WebSocket API. All events belong to one connection."""
    context = {"eventType": kind, "routeKey": ROUTES[kind], "connectionId": "rehearsal", "stage": "ws"}
    return {
        "requestContext": context | {"domainName": "unused.example.org", "identity": {"sourceIp": "192.0.2.1"}},
        "headers": {},
        "body": body,
        "isBase64Encoded": False,
    }


def rehearse(package: Path) -> list[str]:
    """Return the package's files that were imported. Raise ImportError or RuntimeError if the function can't work."""
    sys.path.insert(0, str(package))
    function = importlib.import_module("handler").lambda_handler
    registered = importlib.import_module("zappa.websocket")._registry
    if set(registered) != set(ROUTES.values()):
        raise RuntimeError(f"Zappa would drop every frame: only {sorted(registered)} have handlers")
    logging.disable(logging.CRITICAL)
    page = function(HTTP, Context())
    if page["statusCode"] != 200:
        raise RuntimeError(f"/admin/login/ returned {page['statusCode']}")
    for kind in ROUTES:
        function(websocket(kind), Context())
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    inside = {Path(file).relative_to(package) for file in files if file and Path(file).is_relative_to(package)}
    return sorted(str(file) for file in inside if file.suffix == ".py")


if __name__ == "__main__":
    print(json.dumps(rehearse(Path.cwd())))
