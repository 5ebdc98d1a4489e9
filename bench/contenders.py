"""The servers that are compared. All share the same Redis and PostgreSQL, which run on other cores."""

import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import on_every_core, pinned
from tests.support.deployments import Kubernetes, Pod
from tests.support.paths import ROOT
from tests.support.redis_services import Redis
from tests.support.services import HOST, MissingProgram, Postgres, Service, started

PEERS = ROOT / "bench" / "peers"
MOST_SOCKETS = "20000"  # of one process; no workload opens as many
PRODUCT = "product"
STOCK_CORE = "stock Channels, `RedisChannelLayer`"
STOCK_PUBSUB = "stock Channels, `RedisPubSubChannelLayer`"
STOCK_BACKLOG = f"{STOCK_PUBSUB}, backlog 4,096"
NODE = "Node `ws` + Redis"
WEBSOCKETS = "Python `websockets` + Redis"


class Measured(Service):
    start_seconds = 0.0  # from the start until the service was ready

    def start(self) -> None:
        began = time.monotonic()
        super().start()
        self.start_seconds = time.monotonic() - began

    @property
    def pid(self) -> int:
        """The process ID of the program itself: `taskset` replaces itself with the program it starts."""
        assert self._process is not None
        return self._process.pid


class DurablePostgres(Measured, Postgres):
    """The tests' PostgreSQL with fsync: a commit is on disk before it is answered."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "--fsync=on"]


class SharedRedis(Measured, Redis):
    pass


class ProductOnItsCore(Measured, Pod):
    name = PRODUCT

    def command(self) -> Sequence[str]:
        return pinned(super().command())


class ProductOnEveryCore(Measured, Pod):
    name = PRODUCT

    def command(self) -> Sequence[str]:
        return on_every_core(super().command())


class Peer(Measured):
    """A server that stores nothing outside Redis.

    `command` returns the command line for a port. The environment also has HOST, PORT and REDIS_URL.
    """

    working_directory = ROOT

    def __init__(self, name: str, redis_url: str, command: Callable[[int], Sequence[str]], **environment: str) -> None:
        super().__init__()
        self.name = name
        self._command = command
        self.environment |= {"HOST": HOST, "PORT": str(self.port), "REDIS_URL": redis_url} | environment

    def command(self) -> Sequence[str]:
        return pinned(self._command(self.port))

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False


@dataclass(frozen=True)
class Surroundings:
    redis: SharedRedis
    postgres: DurablePostgres
    kubernetes: Kubernetes


@dataclass(frozen=True)
class Running:
    """A contender whose servers are ready."""

    name: str
    servers: Sequence[Measured]
    urls: list[str]
    surroundings: Surroundings
    admin_token: Callable[[], str] = str


Start = Callable[[Surroundings, int], contextlib.AbstractContextManager[Running]]


@contextlib.contextmanager
def surroundings() -> Iterator[Surroundings]:
    """Start Redis, and PostgreSQL with a prepared database that each product copies."""
    postgres, redis = DurablePostgres(), SharedRedis()
    with tempfile.TemporaryDirectory() as static, started(postgres, redis):
        yield Surroundings(redis, postgres, Kubernetes(postgres, Path(static)))


def product(make: Callable[..., Pod]) -> Start:
    """Return the Start of this product as pods run it: every message is committed to PostgreSQL before its ack."""

    @contextlib.contextmanager
    def start(around: Surroundings, processes: int) -> Iterator[Running]:
        environment = {"MAX_CONNECTIONS": MOST_SOCKETS}
        with around.kubernetes.deployed(around.redis.url, environment, pods=processes, make=make) as deployment:
            servers = [server for server in deployment.servers if isinstance(server, Measured)]
            token = deployment.session("operator").token
            yield Running(PRODUCT, servers, deployment.websocket_urls, around, token)

    return start


def peer(name: str, command: Callable[[int], Sequence[str]], **environment: str) -> Start:
    """Return the Start of a peer: a server that does the same job and stores nothing."""

    @contextlib.contextmanager
    def start(around: Surroundings, processes: int) -> Iterator[Running]:
        assert processes == 1
        server = Peer(name, around.redis.url, command, **environment)
        with started(server):
            yield Running(name, [server], [f"ws://{HOST}:{server.port}/ws"], around)

    return start


def daphne(port: int) -> Sequence[str]:
    """Return the command line of daphne with its default settings."""
    return [sys.executable, "-m", "daphne", "-v", "0", "-b", HOST, "-p", str(port), _STOCK]


def daphne_with_backlog(port: int) -> Sequence[str]:
    endpoint = f"tcp:port={port}:interface={HOST}:backlog=4096"
    return [sys.executable, "-m", "daphne", "-v", "0", "-e", endpoint, _STOCK]


def node(port: int) -> Sequence[str]:
    if not (PEERS / "node_modules").exists():
        raise MissingProgram(
            "The Node contender needs its packages. Install them: `make bench/peers/node_modules/.package-lock.json`."
        )
    return ["node", str(PEERS / "ws_redis.js")]


def websockets(port: int) -> Sequence[str]:
    return [sys.executable, "-m", "bench.peers.websockets_redis"]


_STOCK = "bench.peers.stock_channels:application"
_PUBSUB = {"LAYER": "pubsub.RedisPubSubChannelLayer"}
CONTENDERS: Mapping[str, Start] = {
    STOCK_CORE: peer(STOCK_CORE, daphne, LAYER="core.RedisChannelLayer"),
    STOCK_PUBSUB: peer(STOCK_PUBSUB, daphne, **_PUBSUB),
    STOCK_BACKLOG: peer(STOCK_BACKLOG, daphne_with_backlog, **_PUBSUB),
    WEBSOCKETS: peer(WEBSOCKETS, websockets),
    NODE: peer(NODE, node),
    PRODUCT: product(ProductOnItsCore),
}
PROCESSES = product(ProductOnEveryCore)
