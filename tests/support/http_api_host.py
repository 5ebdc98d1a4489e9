"""A stand-in for the host name of an HTTP API, so that pages have their own origin, whatever the path of the API."""

import contextlib
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.services import HOST, free_port

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date"}


class Front:
    """A proxy that passes requests to `port`, under the path of `leads_to`, with API Gateway's X-Forwarded headers."""

    def __init__(self, port: int) -> None:
        self._prefix = ""
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen = [*self.headers.get_all("X-Forwarded-For", []), self.client_address[0]]
                headers = dict(self.headers.items()) | {"X-Forwarded-For": ", ".join(seen), "X-Forwarded-Proto": "http"}
                backend = HTTPConnection(HOST, port, timeout=30)
                backend.request(self.command, front._prefix + self.path, body, headers)
                answer = backend.getresponse()
                content = answer.read()
                backend.close()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # the client has given up
                    self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *arguments: object) -> None:
                pass  # the function logs every request itself

        self.port = free_port()
        self._server = ThreadingHTTPServer((HOST, self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="front")

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    def leads_to(self, path: str) -> None:
        self._prefix = path

    def __enter__(self) -> "Front":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
