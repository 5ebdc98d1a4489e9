"""The product as it is deployed, in real processes: one on a laptop, or several with Redis and PostgreSQL."""

import asyncio
import contextlib
import itertools
import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookiejar import CookieJar
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, ProxyHandler, Request, build_opener

import psycopg
import pytest
from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13

from messaging.client.socket import Credentials
from tests.support.paths import ROOT
from tests.support.pgbouncer import PgBouncer
from tests.support.redis_services import Redis
from tests.support.services import HOST, Postgres, Service, free_port, started
from tests.support.waiting import SOON

# The tests sign tokens of their own, so the servers share this key with them.
SECRET_KEY = "a key of the tests, long enough for every check and known to everybody"
PASSWORD = "correct horse battery staple"

# Staff members and their rights. "operator" is a superuser.
STAFF: dict[str, tuple[str, ...]] = {
    "operator": (),
    "colleague": ("view_message", "add_message"),
    "manager": ("view_message", "change_conversation", "add_block", "delete_block"),
    "reader": ("view_message",),
    "clerk": (),
}
CREATE_STAFF = f"""
from django.contrib.auth.models import Permission, User
for name, rights in {STAFF!r}.items():
    user = User.objects.create_user(name, password={PASSWORD!r}, is_staff=True, is_superuser=name == "operator")
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="messaging", codename__in=rights))
"""
# Create two messages, of which retention keeps one; and print those that are kept.
SAY_OLD_AND_NEW = """
from datetime import timedelta
from uuid import uuid4
from django.conf import settings
from django.utils import timezone
from messaging.models import Conversation, Message
for content, days in {"old": settings.MESSAGE_RETENTION_DAYS + 1, "new": 1}.items():
    at = timezone.now() - timedelta(days=days)
    thread = Conversation.objects.create(last_message_at=at)
    Message.objects.create(conversation=thread, client_id=uuid4().hex, sender="user", content=content, created_at=at)
"""
KEPT = """
from messaging.models import Message
print(*Message.objects.filter(content__in=["old", "new"]).values_list("content", flat=True))
"""
# The only differences from the configuration in production. Tests of these settings set their own.
FOR_TESTS = {
    # All tests come from one address, and send in a minute what their visitors would send in an hour.
    "SOCKETS_PER_ADDRESS": "0",
    "RATE_LIMIT_ADDRESS": "off",
    "RATE_LIMIT_CONVERSATIONS": "off",
    "RATE_LIMIT_VISITOR": "off",
    "RATE_LIMIT_LOGIN_ADDRESS": "off",
    "RATE_LIMIT_LOGIN": "off",
    # To flood a page, one staff member or visitor sends as much as many of them would.
    "RATE_LIMIT_ADMIN": "off",
    "RATE_LIMIT_CONNECTION": "off",
    # Most tests leave connections open when their servers stop: each would wait 20 s for them.
    "SHUTDOWN_TIMEOUT": "1",
}
# For servers of long tests with much traffic: coverage would slow them down, and other tests run the same lines.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}
PREPARED = "prepared"  # the database that deployments copy


def manage(environment: Mapping[str, str], *arguments: str) -> str:
    """Return the output of `manage.py`. Raise AssertionError with the output if it fails."""
    return output([sys.executable, "manage.py", *arguments], environment)


def ended(
    command: Sequence[str], environment: Mapping[str, str], directory: Path = ROOT
) -> "subprocess.CompletedProcess[str]":
    """Run `command` to its end, whatever its exit code. The `stdout` of the result has all its output."""
    return subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def output(command: Sequence[str], environment: Mapping[str, str], directory: Path = ROOT) -> str:
    """Return the output of `command`, run in `directory`. Raise AssertionError with the output if it fails."""
    result = ended(command, environment, directory)
    assert result.returncode == 0, f"{shlex.join(command)} failed:\n{result.stdout}"
    return result.stdout


def prepare_database(environment: Mapping[str, str]) -> None:
    """Create the product's tables, and STAFF in them."""
    manage(environment, "migrate", "--verbosity=0")
    create_staff(environment)


def create_staff(environment: Mapping[str, str]) -> None:
    manage(environment, "shell", "-c", CREATE_STAFF)


class Server(Service):
    """One application process. Its application is on `port`, its probes are on `health_port`."""

    name = "the server"
    working_directory = ROOT
    health_port: int

    def __init__(self, **environment: str) -> None:
        super().__init__()
        self.environment |= {"PYTHONUNBUFFERED": "1", "SECRET_KEY": SECRET_KEY} | FOR_TESTS | environment

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def websocket_url(self) -> str:
        return f"ws://{HOST}:{self.port}/ws"

    def is_ready(self) -> bool:
        return says_ready(self.health_port)


class LocalServer(Server):
    """The server that `make run` starts, with a database file of its own."""

    def __init__(self, **environment: str) -> None:
        super().__init__(DEPLOYMENT_MODE="local", **environment)
        self.health_port = self.port
        self.environment.setdefault("DATABASE_URL", f"sqlite:///{self.directory / 'db.sqlite3'}")

    def command(self) -> Sequence[str]:
        return [sys.executable, "manage.py", "runserver", "--noreload", f"{HOST}:{self.port}"]


class Pod(Server):
    """The server process of a pod."""

    def __init__(self, **environment: str) -> None:
        super().__init__(DEPLOYMENT_MODE="kubernetes", MESSAGING_HOST=HOST, HTTPS_ONLY="false", **environment)
        self.health_port = free_port()
        self.environment |= {
            "PORT": str(self.port),
            "HEALTH_CHECK_PORT": str(self.health_port),
            "ALLOWED_HOSTS": f"localhost,{HOST}",
            "CSRF_TRUSTED_ORIGINS": self.origin,
        }

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "messaging_site.server"]


class ProductionPod(Pod):
    """A pod with the product's own limits, unless the test sets others."""

    def __init__(self, **environment: str) -> None:
        super().__init__(**environment)
        for name in FOR_TESTS.keys() - environment:
            del self.environment[name]


class Endpoint(Protocol):
    """A server as pages and staff reach it: a process, or the parts that do its work together."""

    environment: dict[str, str]

    @property
    def origin(self) -> str: ...

    @property
    def websocket_url(self) -> str: ...

    @property
    def log(self) -> str: ...


AnyServer = TypeVar("AnyServer", bound=Endpoint, default=Endpoint, covariant=True)


class Deployment(Generic[AnyServer]):
    """Servers that share one database, with the addresses and sessions that a test needs."""

    gateway = False  # whether an API Gateway holds the WebSockets: docs/protocol.md lists the differences

    def __init__(self, servers: Sequence[AnyServer], database: str) -> None:
        self.servers = servers
        self.database = database
        self._sessions: dict[str, StaffSession] = {}

    @property
    def websocket_sources(self) -> str:
        """The sources that pages may connect to besides their own origin."""
        return ""

    @property
    def websocket_urls(self) -> list[str]:
        return [server.websocket_url for server in self.servers]

    @property
    def log(self) -> str:
        return "".join(server.log for server in self.servers)

    async def admin_token(self, username: str = "operator") -> str:
        """Return the token that the live page would get for `username`, by a real login and a real POST.

        Raise urllib.error.URLError if no server answers, HTTPError if the server refuses.
        """
        return (await self.admin_credentials(username)).token or ""

    async def admin_credentials(self, username: str = "operator") -> Credentials:
        """Return the token with its pass."""
        return await asyncio.to_thread(self.session(username).credentials)

    def headers(self, path: str) -> dict[str, str]:
        """Return the headers of the answer to a GET of `path`."""
        with opener().open(self.servers[0].origin + path, timeout=10) as answer:
            return dict(answer.headers)

    def session(self, username: str) -> "StaffSession":
        return self._sessions.setdefault(username, StaffSession(self.servers, username))

    async def forgets_the_past(self) -> None:
        """Return when the connections of earlier tests no longer count."""

    def needs_own_sockets(self, what: str) -> None:
        """Skip a test of something that a gateway does by itself (docs/protocol.md) and its emulator does not do."""
        if self.gateway:
            pytest.skip(f"a gateway's own business: {what}")

    def run(self, code: str) -> str:
        """Run Django `code` against this deployment's database. Return its output."""
        return manage(self.servers[0].environment, "shell", "-c", code)


@contextlib.contextmanager
def local() -> Iterator[Deployment[LocalServer]]:
    """Run one process with SQLite and everything else in memory."""
    server = LocalServer()
    prepare_database(server.environment)
    with started(server):
        yield Deployment([server], server.environment["DATABASE_URL"])


class Kubernetes:
    """Deployments of pods, each on a new copy of a prepared database: PostgreSQL makes one in a tenth of a second."""

    def __init__(self, postgres: Postgres, static_root: Path) -> None:
        self._postgres = postgres
        self._environment = {"STATIC_ROOT": str(static_root)}
        self._copies = itertools.count(1)
        pod = Pod(DATABASE_URL=postgres.create_database(PREPARED), REDIS_URL="redis://unused", **self._environment)
        prepare_database(pod.environment)
        manage(pod.environment, "collectstatic", "--noinput", "--verbosity=0")
        pod.stop()

    @contextlib.contextmanager
    def deployed(
        self,
        redis_url: str,
        variables: Mapping[str, str] = MappingProxyType({}),
        *,
        pods: int = 2,
        make: Callable[..., Pod] = Pod,
        pooler: PgBouncer | None = None,
        **environment: str,
    ) -> Iterator[Deployment[Pod]]:
        """Start pods that reach their database through `pooler`, if there is one.

        Their environment has both `variables`, for a caller that has a mapping, and `environment`, for names that a
        test writes out.
        """
        database = self._postgres.create_database(f"deployed_{next(self._copies)}", PREPARED)
        reached = pooler.url(database) if pooler else database
        own = {"DATABASE_URL": reached, "REDIS_URL": redis_url} | self._environment
        servers = [make(**{**own, **variables, **environment}) for _ in range(pods)]
        with started(*servers):
            yield Deployment(servers, database)

    @contextlib.contextmanager
    def pod_with_redis(self) -> Iterator[tuple[Pod, Redis]]:
        """Run a pod with a Redis of its own, which the test may stop and start. Yield both."""
        redis = Redis()
        with started(redis), self.deployed(redis.url, pods=1) as deployment:
            yield deployment.servers[0], redis


class StaffSession:
    """The browser of a staff member, who logs in for the first token. If a server is down, it uses the next one."""

    def __init__(self, servers: Sequence[Endpoint], username: str) -> None:
        self._servers = servers
        self._username = username
        self._cookies = CookieJar()  # cookies ignore ports: all servers get them
        self._browser = opener(HTTPCookieProcessor(self._cookies))
        self._login = threading.Lock()

    def token(self) -> str:
        return self.credentials().token or ""

    def credentials(self) -> Credentials:
        """Return a token and a pass, which every request makes anew."""
        with self._login:
            if "sessionid" not in self.cookies:
                self._log_in()
        answer: dict[str, Any] = json.loads(self.request("/admin/live/token/", {}))
        assert answer == {"token": answer["token"], "pass": answer["pass"], "expiresIn": 60}
        return Credentials(answer["token"], answer["pass"])

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self._cookies}

    def _log_in(self) -> None:
        self.request("/admin/login/")  # sets the CSRF cookie
        form = {"username": self._username, "password": PASSWORD, "next": "/admin/"}
        self.request("/admin/login/", form)
        assert "sessionid" in self.cookies, f"{self._username} could not log in"

    def request(self, path: str, form: Mapping[str, str | Sequence[str]] | None = None) -> bytes:
        """Send a GET, or a POST if there is a `form`. Return the body of the answer. Raise URLError or HTTPError."""
        headers = {"X-CSRFToken": self.cookies.get("csrftoken", "")}
        data = None if form is None else urlencode(form, doseq=True).encode()
        refused: OSError = URLError("no server")
        for server in self._servers:
            try:
                headers["Origin"] = server.origin
                request = Request(server.origin + path, data, headers)  # noqa: S310  always http
                with self._browser.open(request, timeout=30) as answer:
                    body: bytes = answer.read()
                return body
            except URLError as error:
                if not isinstance(error.reason, OSError):
                    raise
                refused = error
        raise refused


def fetch(url: str, **headers: str) -> tuple[int, str, bytes]:
    """Return the status, the final URL and the body of the answer to a GET."""
    try:
        with opener().open(Request(url, headers=headers), timeout=SOON) as answer:  # noqa: S310  always http
            assert "Server" not in answer.headers
            return answer.status, answer.url, answer.read()
    except HTTPError as answer:
        return answer.code, url, answer.read()


def probe(pod: Pod, path: str) -> tuple[int, dict[str, object]]:
    """Return the status and the body of the answer to a probe."""
    status, _, body = fetch(f"http://{HOST}:{pod.health_port}{path}")
    return status, json.loads(body)


def says_ready(port: int, host: str = HOST) -> bool:
    """Return whether the readiness probe on `port` answers with 200."""
    with contextlib.suppress(OSError), opener().open(f"http://{host}:{port}/ready", timeout=5):
        return True
    return False


def opener(*handlers: HTTPCookieProcessor) -> OpenerDirector:
    return build_opener(ProxyHandler({}), *handlers)  # a developer's proxy must not see requests to 127.0.0.1


def waiting_for_locks(deployment: Deployment) -> int:
    with psycopg.connect(deployment.database) as observer:
        return len(observer.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall())
