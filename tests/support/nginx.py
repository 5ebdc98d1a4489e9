"""nginx in front of servers, like an ingress controller: its routes may be changed while it runs."""

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from types import MappingProxyType

from tests.support.services import HOST, Service, program
from tests.support.waiting import wait_until

VERSION_PATH = "/.version-of-these-routes"
CONFIGURATION = """
daemon off;
{user}  # of whoever runs the tests; one process alone could not take up new routes
worker_processes 1;
pid {directory}/pid;
worker_rlimit_nofile 16384;
events {{ worker_connections 16384; }}  # a hall: two for each socket, and those of the pages that load
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_header {{ default upgrade; "" close; }}
    proxy_http_version 1.1;
    proxy_pass_header Server;  # what the servers say of themselves, not what nginx does
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_header;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_connect_timeout 2s;
    proxy_read_timeout 1h;
    proxy_send_timeout 1h;
    proxy_next_upstream error timeout;
    {upstreams}
    server {{
        listen {host}:{port};
        location = {version_path} {{ return 200 {version}; }}
        {locations}
    }}
}}
"""


class Nginx(Service):
    """nginx in front of servers, which it uses in turn; a request that one server refuses goes to the next.

    `routes`: the ports behind each path, as in an Ingress. The longest matching path applies, element by element.
    `path`: the path to request from servers instead, as a gateway's own domain does.
    """

    name = "nginx"

    def __init__(self, routes: Mapping[str, Sequence[int]] = MappingProxyType({}), path: str = "") -> None:
        super().__init__()
        self._path = path
        self._configuration = self.directory / "nginx.conf"
        self._version = 0
        self._configure(routes)

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def websocket_url(self) -> str:
        return f"ws://{HOST}:{self.port}/ws"

    def lead(self, routes: Mapping[str, Sequence[int]]) -> None:
        """Change the routes. Return when most new requests follow them; requests in progress stay where they are."""
        self._configure(routes)
        self.send_signal(signal.SIGHUP)
        wait_until(self.is_ready, "nginx has its new routes")

    def _configure(self, routes: Mapping[str, Sequence[int]]) -> None:
        self._version += 1
        upstreams, locations = [], []
        for number, (path, ports) in enumerate(routes.items()):
            servers = " ".join(f"server {HOST}:{port} fail_timeout=1s;" for port in ports)
            upstreams.append(f"upstream route{number} {{ {servers} }}")
            element = path.rstrip("/")
            for location in (f"= {path}", f"{element}/") if element else ("/",):
                locations.append(f"location {location} {{ proxy_pass http://route{number}{self._path}; }}")
        text = CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "",
            directory=self.directory,
            host=HOST,
            port=self.port,
            version_path=VERSION_PATH,
            version=self._version,
            upstreams="\n    ".join(upstreams),
            locations="\n        ".join(locations),
        )
        self._configuration.write_text(text)

    def command(self) -> Sequence[str]:
        return [program("nginx"), "-p", str(self.directory), "-c", str(self._configuration), "-e", "stderr"]

    def is_ready(self) -> bool:
        connection = HTTPConnection(HOST, self.port, timeout=5)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", VERSION_PATH)
            return connection.getresponse().read() == str(self._version).encode()
        return False
