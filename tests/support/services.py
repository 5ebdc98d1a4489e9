"""The real services that tests run against, each on a free port and in a temporary directory of its own.

A service is ready when `start` returns. `kill` sends SIGKILL; a killed service can start again on the same port.
"""

import contextlib
import fcntl
import glob
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypedDict

import psutil
import psycopg

from tests.support.paths import ROOT
from tests.support.waiting import wait_until

HOST = "127.0.0.1"
# Debian and Homebrew keep PostgreSQL's own programs off the PATH, and Debian keeps nginx off that of all but root.
# The last one is where scripts/valkey puts it.
PROGRAM_DIRECTORIES = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/*/bin",
    "/usr/local/opt/*/bin",
    "/usr/sbin",
    str(ROOT / ".venv-valkey/usr/bin"),
)
# Libraries that shift the wall clock of a process, and the variable that makes a program load each of them.
CLOCK_LIBRARIES = {
    "/usr/lib/*/faketime/libfaketimeMT.so.1": "LD_PRELOAD",
    "/opt/homebrew/lib/faketime/libfaketime.1.dylib": "DYLD_INSERT_LIBRARIES",
    "/usr/local/lib/faketime/libfaketime.1.dylib": "DYLD_INSERT_LIBRARIES",
}
PACKAGES = {  # program: Debian's package, Homebrew's package
    "redis-server": ("redis-server", "redis"),
    "valkey-server": ("valkey-server", "valkey"),
    "postgres": ("postgresql", "postgresql"),
    "initdb": ("postgresql", "postgresql"),
    "nginx": ("nginx-light", "nginx"),
    "caddy": ("caddy", "caddy"),
    "haproxy": ("haproxy", "haproxy"),
    "pgbouncer": ("pgbouncer", "pgbouncer"),
    "promtool": ("prometheus", "prometheus"),
    "libfaketime": ("libfaketime", "libfaketime"),
    "podman": ("podman runc iptables mmdebstrap netavark aardvark-dns", "podman"),
}
PATIENCE_SECONDS = 20.0  # for answers of a database, which come within 2 s on an idle machine
# The only variables that services inherit: a developer's DATABASE_URL must not reach a test. The last one makes
# coverage measure a Python process.
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_CONFIG")

_ports = random.SystemRandom()  # the `random` module itself is seeded by Hypothesis
_ports_given: set[int] = set()
# Each test process locks, for each port that it uses, the byte at that offset, until the process ends.
_port_locks = (Path(tempfile.gettempdir()) / f"messaging-test-ports-{os.getuid()}").open("w")
running: list["Service"] = []  # for the report of a failed test, like `stopped`
stopped: list[tuple["Service", str]] = []  # with its log: a test's services are gone when its failure is reported


class MissingProgram(Exception):
    """A program that the tests start is not installed; the text says which command installs it."""


class ServiceFailed(Exception):
    """A service ended, or was not ready in time; the text ends with its output."""


def program(name: str) -> str:
    """Return the path of the program `name`. Raise MissingProgram if it is not installed."""
    newest_first = sorted((path for pattern in PROGRAM_DIRECTORIES for path in glob.glob(pattern)), reverse=True)
    path = shutil.which(name) or shutil.which(name, path=os.pathsep.join(newest_first))
    if path is None:
        raise _missing(name)
    return path


def wrong_clock(offset: timedelta) -> dict[str, str]:
    """Return variables that make a program's wall clock wrong by `offset`. Raise MissingProgram without libfaketime."""
    for pattern, preload in CLOCK_LIBRARIES.items():
        for library in glob.glob(pattern):
            clock = {"FAKETIME": f"{offset.total_seconds():+.0f}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
            return {preload: library} | clock
    raise _missing("libfaketime")


def _missing(name: str) -> MissingProgram:
    debian, homebrew = PACKAGES[name]
    return MissingProgram(
        f"The tests need {name}. Install it: `apt-get install {debian}` or `brew install {homebrew}`."
    )


def free_port() -> int:
    """Return a port that is not in use, and that no other test process gets while this one lives.

    It is below the range from which systems pick ports for outgoing connections.
    """
    while True:
        port = _ports.randrange(10_000, 32_000)
        if port in _ports_given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            fcntl.lockf(_port_locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            probe.bind((HOST, port))
            _ports_given.add(port)
            return port


@contextlib.contextmanager
def started(*services: "Service") -> Iterator[None]:
    """Start `services` in order, and stop them in reverse."""
    with contextlib.ExitStack() as stack:
        for service in services:
            stack.callback(service.stop)
        for service in services:
            service.start()
        yield


def certify(directory: Path, user: str | None = None) -> Path:
    """Make a certificate for HOST, and its `key` beside it, both owned by `user`. Return the certificate's path.

    A client that trusts the certificate trusts the servers that present it.
    """
    certificate = directory / "certificate"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", f"/CN={HOST}"]
    command += ["-addext", f"subjectAltName=IP:{HOST}", "-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    files = ["-keyout", str(certificate.with_name("key")), "-out", str(certificate)]
    subprocess.run([*command, *files], cwd=directory, check=True, capture_output=True, **as_user(user))
    return certificate


class Service:
    """A program with a port, a directory and a log. Subclasses define `command` and `is_ready`."""

    name: str
    ready_seconds = 60  # a start takes 2; several at once on a busy machine take more
    stop_signal = signal.SIGTERM
    working_directory: str | Path = "/"

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="messaging-test-"))
        self.environment = {key: os.environ[key] for key in INHERITED if key in os.environ}
        self.user: str | None = None
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    @property
    def log(self) -> str:
        """Everything that the program has printed, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def tail(self) -> str:
        return "\n".join(self.log.splitlines()[-40:])

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.working_directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl+C ends pytest, and pytest ends its services
                **as_user(self.user),
            )
        running.append(self)
        try:
            wait_until(self._ready_or_ended, f"{self.name} is ready", self.ready_seconds)
        except AssertionError as error:
            raise ServiceFailed(f"{error}\n{self.tail}") from None

    def _ready_or_ended(self) -> bool:
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            raise ServiceFailed(f"{self.name} ended with {code}:\n{self.tail}")
        return self.is_ready()

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code of a program that has ended by itself; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def children(self) -> list[psutil.Process]:
        """Return the processes that the program has started, and the processes that those have started."""
        return psutil.Process(self.pid).children(recursive=True)

    def kill(self) -> None:
        """End the program by SIGKILL, so that it can't close connections or flush data."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """End the program as its operator would, and remove its directory. Harmless if it does not run."""
        self.end(self.stop_signal)
        stopped.append((self, self.log))
        shutil.rmtree(self.directory, ignore_errors=True)

    def end(self, number: signal.Signals) -> int | None:
        """End the program by the signal `number`. Return its exit code, or None if it did not run.

        The program may be started again. Raise ServiceFailed if it does not end within 30 s.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        running.remove(self)
        process.send_signal(number)
        try:
            return process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise ServiceFailed(f"{self.name} did not end within 30 s of {number.name}:\n{self.tail}") from None


class AsUser(TypedDict, total=False):
    """Popen's arguments that choose the user of a program."""

    user: str
    group: int
    extra_groups: list[int]


def as_user(name: str | None) -> AsUser:
    """Return Popen's arguments that run a program as `name`."""
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []} if name else {}


class Postgres(Service):
    """PostgreSQL with its own defaults, but without fsync: its files are needed only for the test run."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": it ends sessions instead of waiting for them

    def __init__(self, *settings: str) -> None:
        """Store `settings` that replace PostgreSQL's defaults, each as name=value."""
        super().__init__()
        self._settings = settings
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root; its Debian package made this user
            self.user = "postgres"
            shutil.chown(self.directory, self.user)
        self.data = self.directory / "data"

    def command(self) -> Sequence[str]:
        options = (
            f"listen_addresses={HOST}",
            f"port={self.port}",
            "unix_socket_directories=",
            "fsync=off",
            *self._settings,
        )
        return [program("postgres"), "-D", str(self.data), *(f"--{option}" for option in options)]

    def start(self) -> None:
        if not self.data.exists():
            subprocess.run(self.data_command(), check=True, cwd="/", stdout=subprocess.DEVNULL, **as_user(self.user))
        super().start()

    def data_command(self) -> Sequence[str]:
        """Return the command that makes `data`, the directory of all its files."""
        options = ["--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8", "--username=messaging"]
        return [program("initdb"), "--pgdata", str(self.data), *options]

    def is_ready(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            self.execute("SELECT 1")
            return True
        return False

    def url(self, database: str) -> str:
        return f"postgres://messaging@{HOST}:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)

    def create_database(self, name: str, template: str = "template1", encoding: str = "UTF8") -> str:
        """Create a database as a copy of `template`, which must not be in use. Return its URL.

        Only `template0` can be copied with another encoding.
        """
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" ENCODING \'{encoding}\'')
        return self.url(name)
