"""An ingress controller in a few lines: it hands each connection to the Service that the rendered Ingress names."""

import contextlib
import re
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from io import BufferedReader

from messaging.tests.kustomize import Manifests
from messaging.tests.services import HOST, free_port

Address = tuple[str, int]


def routes(manifests: Manifests, services: Mapping[str, Address]) -> dict[str, Address]:
    """Where each path of the Ingress leads, given where the Services are."""
    (rule,) = manifests.one("Ingress", "user-admin-messaging-ingress")["spec"]["rules"]
    return {path["path"]: services[path["backend"]["service"]["name"]] for path in rule["http"]["paths"]}


@contextlib.contextmanager
def controller(routes: Mapping[str, Address]) -> Iterator[str]:
    """Serves `routes`; yields the URL."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                head = b"".join(iter(self.rfile.readline, b"\r\n"))
                path = head.split(b" ", 2)[1].decode()
                with socket.create_connection(_backend(routes, path)) as backend:
                    backend.sendall(_forwarded(head, self.client_address[0]))
                    back = threading.Thread(target=_copy, args=(backend.makefile("rb"), self.connection))
                    back.start()
                    _copy(self.rfile, backend)
                    back.join()

    with socketserver.ThreadingTCPServer((HOST, free_port()), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()


def _backend(routes: Mapping[str, Address], path: str) -> Address:
    """By the longest prefix of whole path elements, as `pathType: Prefix` is defined."""
    elements = path.partition("?")[0].rstrip("/") + "/"
    return routes[max((prefix for prefix in routes if elements.startswith(prefix.rstrip("/") + "/")), key=len)]


def _forwarded(head: bytes, client: str) -> bytes:
    if not re.search(rb"(?i)^upgrade:", head, re.MULTILINE):  # the next request may lead elsewhere
        head = re.sub(rb"(?im)^connection:.*\r\n", b"", head) + b"Connection: close\r\n"
    return head + f"X-Forwarded-For: {client}\r\n\r\n".encode()


def _copy(source: BufferedReader, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.read1():
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
