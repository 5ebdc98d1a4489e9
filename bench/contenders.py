"""The servers that are compared, each one process. What they need runs beside them, not on their core."""

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.load import SERVER_CPU
from messaging.tests.deployments import ROOT, Pod, StaffSession, manage, prepare_database
from messaging.tests.redis_services import Redis
from messaging.tests.services import HOST, Postgres, Service, started

# As `taskset` is Linux's, another system gets no cores apart: its figures vary more.
PINNED = shutil.which("taskset") is not None and (os.cpu_count() or 1) > 1


def pin_to_other_cores() -> None:
    """This process, and what it starts without `pinned`, leave SERVER_CPU to the server."""
    if PINNED:
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {SERVER_CPU})


def pinned(command: Sequence[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(SERVER_CPU), *command] if PINNED else list(command)


class DurablePostgres(Postgres):
    """The tests' PostgreSQL, but a commit is on the disk before it is answered."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "--fsync=on"]


class Product(Pod):
    name = "product"

    def command(self) -> Sequence[str]:
        return pinned(super().command())


class StockChannels(Service):
    working_directory = ROOT

    def __init__(self, layer: str, redis_url: str) -> None:
        super().__init__()
        self.name = f"stock Channels, {layer}"
        self.environment |= {"LAYER": layer, "REDIS_URL": redis_url}

    def command(self) -> Sequence[str]:
        application = "bench.peers.stock_channels:application"
        return pinned([sys.executable, "-m", "daphne", "-v", "0", "-b", HOST, "-p", str(self.port), application])

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False


@dataclass(frozen=True)
class Contender:
    name: str
    url: str
    admin_token: Callable[[], str] = str


@contextlib.contextmanager
def product() -> Iterator[Contender]:
    """The product as a pod runs it: Redis between processes, every message committed to PostgreSQL before its ack."""
    postgres, redis = DurablePostgres(), Redis()
    with started(postgres, redis):
        server = Product(DATABASE_URL=postgres.create_database("bench"), REDIS_URL=redis.url)
        server.environment["STATIC_ROOT"] = str(server.directory / "static")
        prepare_database(server.environment)
        manage(server.environment, "collectstatic", "--noinput")
        with started(server):
            yield Contender(server.name, server.websocket_url, StaffSession([server], "operator").token)


@contextlib.contextmanager
def stock(layer: str) -> Iterator[Contender]:
    """The tutorial's consumer on daphne with a layer of channels_redis."""
    redis = Redis()
    with started(redis):
        server = StockChannels(layer, redis.url)
        with started(server):
            yield Contender(server.name, f"ws://{HOST}:{server.port}/ws")


CONTENDERS = (
    lambda: stock("core.RedisChannelLayer"),
    lambda: stock("pubsub.RedisPubSubChannelLayer"),
    product,
)
