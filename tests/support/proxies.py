"""The proxies of docs/proxies.md with the configurations of that page, and clients that have addresses of their own."""

import contextlib
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.typing import Origin

from tests.support.deployments import PASSWORD, Pod
from tests.support.paths import ROOT
from tests.support.services import HOST, Service, certify, program

NONE: Mapping[str, str] = MappingProxyType({})
SITE = "chat.example.org"  # the host name in that page's configurations
PROGRAM = {"nginx": "nginx", "caddy": "caddy", "haproxy": "haproxy"}
OWN_FILES = """
pid {directory}/pid;
{user}
"""
OWN_DIRECTORIES = """
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
"""


def documented(heading: str, language: str) -> str:
    """Return the configuration in `language` under `heading` of docs/proxies.md."""
    page = (ROOT / "docs" / "proxies.md").read_text()
    found = re.search(rf"^#+ {re.escape(heading)}$.*?^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def adapted(text: str, changes: Mapping[str, str]) -> str:
    """Return `text` with the names and ports of a test in the place of the documented ones, each of which is there."""
    for documented_one, own in changes.items():
        assert documented_one in text, documented_one
        text = text.replace(documented_one, own)
    return text


class SitePod(Pod):
    """A pod of the site SITE, which is behind TLS."""

    def __init__(self, **environment: str) -> None:
        super().__init__(**environment)
        self.environment |= {"HTTPS_ONLY": "true", "ALLOWED_HOSTS": SITE, "CSRF_TRUSTED_ORIGINS": ""}


class Proxy(Service):
    """A proxy that leads to `upstream`, a port of this machine."""

    tls = True

    def __init__(self, upstream: int) -> None:
        super().__init__()
        self.upstream = f"{HOST}:{upstream}"
        self.certificate = certify(self.directory)
        self.key = self.certificate.with_name("key")
        self._file = self.directory / "configuration"

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 5):
            return True
        return False

    def write(self, text: str) -> Path:
        self._file.write_text(text)
        return self._file


class Nginx(Proxy):
    """nginx as documented. `listens`: the documented lines for a peer that speaks the PROXY protocol, or none."""

    name = "nginx in front"

    def __init__(self, upstream: int, *, listens: str = "listen 443 ssl;") -> None:
        super().__init__(upstream)
        site = documented("nginx", "nginx").replace("listen 443 ssl;", listens)
        site = adapted(
            site,
            {
                "listen 443": f"listen {HOST}:{self.port}",
                "/etc/ssl/chat.pem": str(self.certificate),
                "/etc/ssl/chat.key": str(self.key),
                "127.0.0.1:8080": self.upstream,
            },
        )
        self.write(with_own_files(f"events {{}}\nhttp {{\n{site}}}\n", self.directory))

    def command(self) -> Sequence[str]:
        return [program("nginx"), "-c", str(self._file), "-e", "stderr", "-g", "daemon off;"]


def with_own_files(text: str, directory: Path) -> str:
    """Return a configuration of nginx with all its files in `directory`: several nginx run at once."""
    user = "user root;" if os.geteuid() == 0 else ""
    text = text.replace("http {", "http {" + OWN_DIRECTORIES.format(directory=directory), 1)
    return OWN_FILES.format(directory=directory, user=user) + text


class Caddy(Proxy):
    """Caddy as documented, except that it does not ask a public authority for its certificate."""

    name = "Caddy"

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self.environment["HOME"] = str(self.directory)
        own = f"{SITE}:{self.port} {{\n    bind {HOST}\n    tls {self.certificate} {self.key}\n"
        site = adapted(documented("Caddy", "caddy"), {f"{SITE} {{\n": own, "127.0.0.1:8080": self.upstream})
        self.write(f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{site}")

    def command(self) -> Sequence[str]:
        return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(self._file)]


class HAProxy(Proxy):
    """HAProxy as documented, in front of the servers."""

    name = "HAProxy"

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        pem = self.directory / "pem"
        pem.write_text(self.certificate.read_text() + self.key.read_text())
        changes = {"bind :443": f"bind {HOST}:{self.port}", "/etc/haproxy/chat.pem": str(pem)}
        self.write(adapted(documented("HAProxy", "haproxy"), changes | {"127.0.0.1:8080": self.upstream}))

    def command(self) -> Sequence[str]:
        return [program("haproxy"), "-db", "-f", str(self._file)]


class HAProxyBeforeNginx(HAProxy):
    """HAProxy as documented, in front of a documented nginx with PROXY protocol."""

    name = "HAProxy in front of nginx"
    HEADING = "PROXY protocol: HAProxy in front of nginx"

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        listens = adapted(documented(self.HEADING, "nginx"), {"10.0.0.4": HOST})
        self.nginx = Nginx(upstream, listens=listens)
        changes = {"10.0.0.5:443": f"{HOST}:{self.nginx.port}", "bind :443": f"bind {HOST}:{self.port}"}
        self.write(adapted(documented(self.HEADING, "haproxy"), changes))
        self.certificate = self.nginx.certificate

    def start(self) -> None:
        self.nginx.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self.nginx.stop()


class ComposeNginx(Proxy):
    """The nginx of compose.yaml, with its own script and configuration. Both its servers are the one at `upstream`."""

    name = "the nginx of compose.yaml"
    tls = False

    def __init__(self, upstream: int, outer_proxies: str) -> None:
        super().__init__(upstream)
        self.environment |= {"OUTER_PROXIES": outer_proxies}
        self.environment["PATH"] += f"{os.pathsep}{Path(program('nginx')).parent}"
        changes = {
            "server server-1:8080 ": f"server {self.upstream} ",
            "server server-2:8080 ": f"server {self.upstream} ",
            "listen 80;": f"listen {HOST}:{self.port};",
        }
        text = adapted((ROOT / "compose" / "nginx.conf").read_text(), changes)
        self.write(with_own_files(text.replace("    access_log off;", "", 1), self.directory))

    def command(self) -> Sequence[str]:
        return ["sh", str(ROOT / "compose" / "proxy.sh"), str(self._file)]


class Browser:
    """A browser at `address`, which is one of this machine, that opens SITE on `proxy`, or on the port of a server."""

    def __init__(self, address: str, proxy: Service) -> None:
        self._source = (address, 0)
        self._port = proxy.port
        self._tls: ssl.SSLContext | None = None
        if isinstance(proxy, Proxy) and proxy.tls:
            self._tls = ssl.create_default_context(cafile=str(proxy.certificate))
            self._tls.check_hostname = False  # it is a certificate for HOST
        self._scheme = "https" if self._tls else "http"
        self._cookies: dict[str, str] = {}

    def request(
        self, path: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] = NONE
    ) -> tuple[int, Message]:
        """Return the status and the headers of the answer to a GET, or to a POST of `form`."""
        connection = HTTPConnection(SITE, timeout=30)
        connection.sock = self._dial()
        with contextlib.closing(connection):
            sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items()), **headers}
            if form is None:
                connection.request("GET", path, headers=sent)
            else:
                sent |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"{self._scheme}://{SITE}"}
                form = dict(form) | {"csrfmiddlewaretoken": self._cookies.get("csrftoken", "")}
                sent["Referer"] = f"{self._scheme}://{SITE}{path}"
                connection.request("POST", path, urlencode(form), sent)
            answer = connection.getresponse()
            answer.read()
            for cookie in answer.headers.get_all("Set-Cookie", []):
                name, _, value = cookie.partition(";")[0].partition("=")
                self._cookies[name] = value
            return answer.status, answer.headers

    def log_in(self, username: str, password: str = PASSWORD, headers: Mapping[str, str] = NONE) -> int:
        """Return the status of the answer to a login: 302 if it succeeds, 429 if guessing is stopped."""
        self.request("/admin/login/", headers=headers)
        form = {"username": username, "password": password, "next": "/admin/"}
        return self.request("/admin/login/", form, headers)[0]

    @contextlib.asynccontextmanager
    async def connected(self, headers: Mapping[str, str] = NONE) -> AsyncIterator[ClientConnection]:
        """Open the site's WebSocket, and return when the server has welcomed it."""
        async with open_websocket(
            f"{'wss' if self._tls else 'ws'}://{SITE}/ws",
            host=HOST,
            port=self._port,
            local_addr=self._source,
            ssl=self._tls,
            origin=Origin(f"https://{SITE}"),
            additional_headers=headers,
            proxy=None,
        ) as websocket:
            await websocket.recv()
            yield websocket

    def _dial(self) -> socket.socket:
        raw = socket.create_connection((HOST, self._port), 30, source_address=self._source)
        return self._tls.wrap_socket(raw, server_hostname=SITE) if self._tls else raw
