"""API Gateway as the function of a WebSocket API sees it: events, their context, and a management API that can fail.

The shapes are those of AWS's documentation and of the tests of its own libraries: only `$connect` has headers (a
`$disconnect` has a few empty ones), with names in any case; everything else is in `requestContext`.
"""

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

HOST = "127.0.0.1"
API = "a1b2c3d4e5"
DOMAIN = f"{API}.execute-api.eu-central-1.amazonaws.com"
ORIGIN = "https://chat.example.org"
HEADERS = {
    "Host": DOMAIN,
    "Origin": ORIGIN,
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "X-Amzn-Trace-Id": "Root=1-6922c5a1-2a5d6e8f0b1c2d3e4f506172",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Proto": "https",
}
HANG = 0  # instead of a status: no answer at all

Event = dict[str, Any]


class Context:
    """The context object of one invocation of a Lambda function. `seconds`: the time that it may take."""

    function_name = "messaging-production"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def __init__(self, seconds: float = 29.0) -> None:
        self._ends_at = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._ends_at - time.monotonic()) * 1000))


def connect(
    connection: str,
    headers: dict[str, str] | None = None,
    source_ip: str = "203.0.113.7",
    query: dict[str, str] | None = None,
) -> Event:
    sent = HEADERS if headers is None else headers
    event = _event(connection, "$connect", "CONNECT", source_ip)
    if query:
        event["queryStringParameters"] = query
    return {"headers": sent, "multiValueHeaders": {name: [value] for name, value in sent.items()}, **event}


def message(connection: str, body: str, *, base64: bool = False) -> Event:
    event = _event(connection, "$default", "MESSAGE")
    event["requestContext"]["messageId"] = "UxBGfcCCFiACFZg="
    return event | {"body": body, "isBase64Encoded": base64}


def disconnect(connection: str, code: int = 1005, reason: str = "Client-side close frame status not set") -> Event:
    event = _event(connection, "$disconnect", "DISCONNECT")
    event["requestContext"] |= {"disconnectStatusCode": code, "disconnectReason": reason}
    headers = {"Host": DOMAIN, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
    return {"headers": headers, "multiValueHeaders": {name: [value] for name, value in headers.items()}, **event}


def _event(connection: str, route: str, kind: str, source_ip: str = "203.0.113.7") -> Event:
    now = int(time.time() * 1000)
    return {
        "requestContext": {
            "routeKey": route,
            "eventType": kind,
            "extendedRequestId": "UxBGeHTKliACE5Q=",
            "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime()),
            "messageDirection": "IN",
            "stage": "production",
            "connectedAt": now,
            "requestTimeEpoch": now,
            "identity": {"userAgent": HEADERS["User-Agent"], "sourceIp": source_ip},
            "requestId": "UxBGeHTKliACE5Q=",
            "domainName": DOMAIN,
            "connectionId": connection,
            "apiId": API,
        },
        "isBase64Encoded": False,
    }


class ManagementAPI:
    """`POST` and `DELETE /@connections/{id}` of a gateway. All connections are open unless a test says otherwise."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}"
        self.frames: dict[str, list[dict[str, Any]]] = defaultdict(list)  # by connection: frames sent to it
        self.arrivals: dict[str, list[float]] = defaultdict(list)  # by connection: times of requests
        self.closed: list[str] = []
        self.delay = 0.0  # seconds before each answer
        self.at_once = self.most_at_once = 0
        self._next: dict[str, deque[int]] = defaultdict(deque)
        self._always: dict[str, int] = {}
        self._released = threading.Event()
        self._lock = threading.Lock()

    def answers(self, connection: str, *statuses: int) -> None:
        """Answer the next requests about `connection` with `statuses`, and those after them normally."""
        self._next[connection].extend(statuses)

    def always_answers(self, connection: str, status: int) -> None:
        self._always[connection] = status

    def release(self) -> None:
        """Let all hanging requests end."""
        self._released.set()

    def serve(self, request: BaseHTTPRequestHandler) -> int:
        """Return the status of the answer to `request`, or HANG."""
        connection = unquote(request.path.rpartition("/@connections/")[2])
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            self.arrivals[connection].append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            waiting = self._next[connection]
            status = waiting.popleft() if waiting else self._always.get(connection, 200)
        if status == HANG:
            self._released.wait()
        time.sleep(self.delay)
        with self._lock:
            self.at_once -= 1
            if status == 200 and request.command == "POST":
                self.frames[connection].append(json.loads(body))
            if status == 200 and request.command == "DELETE":
                self.closed.append(connection)
                self._always[connection] = 410
        return 204 if status == 200 and request.command == "DELETE" else status


ERRORS = {
    400: "BadRequestException",
    403: "ForbiddenException",
    410: "GoneException",
    413: "PayloadTooLargeException",
    429: "LimitExceededException",
    500: "InternalServerErrorException",
}


@contextmanager
def management_api() -> Iterator[ManagementAPI]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            status = api.serve(self)
            if status == HANG:
                self.close_connection = True
                return
            body = b"" if status < 300 else json.dumps({"message": None}).encode()
            self.send_response(status)
            if status in ERRORS:
                self.send_header("x-amzn-ErrorType", ERRORS[status])
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = answer

        def log_message(self, *arguments: object) -> None:
            """Print nothing on standard error."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # 32 clients connect at once; one for which the queue has no room waits a second

    server = Server((HOST, 0), Handler)
    api = ManagementAPI(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield api
    finally:
        api.release()
        server.shutdown()
        thread.join()
        server.server_close()
