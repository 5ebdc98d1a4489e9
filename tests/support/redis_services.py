"""Redis in the three forms that the product can connect to: one server, Sentinel, Cluster."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import redis

from tests.support.services import HOST, Service, free_port, program, started
from tests.support.waiting import wait_until


class Redis(Service):
    """One Redis that keeps nothing on disk: after a kill and a restart, it is empty.

    With a `certificate` (services.certify) it accepts only TLS.
    """

    name = "Redis"
    program = "redis-server"

    def __init__(self, *options: str, certificate: Path | None = None) -> None:
        super().__init__()
        self._options = options
        self._certificate = certificate

    def command(self) -> Sequence[str]:
        settings = [word for name, value in self.settings().items() for word in (f"--{name}", value)]
        # Without the delay of 0 a new replica waits 5 s for more replicas before it gets its copy.
        settings += ["--save", "", "--repl-diskless-sync-delay", "0"]
        return [program(self.program), *settings, *self._options]

    def settings(self) -> dict[str, str]:
        """Return the configuration of every Redis, including a Sentinel."""
        settings = {"port": str(self.port), "bind": HOST, "dir": str(self.directory), "loglevel": "warning"}
        if self._certificate is None:
            return settings
        return settings | {
            "port": "0",
            "tls-port": str(self.port),
            "tls-cert-file": str(self._certificate),
            "tls-key-file": str(self._certificate.with_name("key")),
            "tls-ca-cert-file": str(self._certificate),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }

    def is_ready(self) -> bool:
        with contextlib.suppress(redis.ConnectionError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        trusted = None if self._certificate is None else str(self._certificate)
        return redis.Redis(
            host=HOST,
            port=self.port,
            protocol=2,
            decode_responses=True,
            ssl=trusted is not None,
            ssl_ca_certs=trusted,
        )

    @property
    def scheme(self) -> str:
        return "rediss" if self._certificate else "redis"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{HOST}:{self.port}/0"


class Valkey(Redis):
    """One Valkey, which forked from Redis 7.2 and speaks to the same clients."""

    name = "Valkey"
    program = "valkey-server"


class Secured(Redis):
    """One Redis that requires a password."""

    def __init__(self, password: str, *options: str) -> None:
        super().__init__("--requirepass", password, "--masterauth", password, *options)
        self._password = password

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, password=self._password, decode_responses=True)


# Milliseconds without an answer until a Sentinel considers a server down. With less, a machine that stalls for a second
# would cause a failover in the middle of a test of something else.
DOWN_AFTER = 5000


class Sentinel(Redis):
    name = "Redis Sentinel"

    def __init__(
        self, master: Redis, name: str, *, down_after: int = DOWN_AFTER, certificate: Path | None = None
    ) -> None:
        super().__init__(certificate=certificate)
        self._master_name = name
        self._configuration = self.directory / "sentinel.conf"  # Sentinel rewrites it
        self._configuration.write_text(
            "".join(f"{setting} {value}\n" for setting, value in self.settings().items())
            + f"sentinel monitor {name} {HOST} {master.port} 2\n"
            f"sentinel down-after-milliseconds {name} {down_after}\nsentinel failover-timeout {name} 5000\n"
        )

    def command(self) -> Sequence[str]:
        return [program("redis-server"), str(self._configuration), "--sentinel"]

    def master(self) -> dict[str, object]:
        with self.client() as client:
            state: dict[str, object] = client.sentinel_master(self._master_name)
        return state


class RedisSentinel:
    """A master, its replica and the three Sentinels that watch them; with a `certificate`, over TLS only."""

    MASTER_NAME = "messaging"

    def __init__(self, *, down_after: int = DOWN_AFTER, certificate: Path | None = None) -> None:
        self.master = Redis(certificate=certificate)
        self.replica = Redis("--replicaof", f"{HOST} {self.master.port}", certificate=certificate)
        self.sentinels = [
            Sentinel(self.master, self.MASTER_NAME, down_after=down_after, certificate=certificate) for _ in range(3)
        ]
        self.url = f"{self.master.scheme}+sentinel://{_addresses(self.sentinels)}/{self.MASTER_NAME}/0"

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        with started(self.master, self.replica, *self.sentinels):
            wait_until(self._all_know_each_other, "the Sentinels know each other", Service.ready_seconds)
            yield

    def serving(self) -> Redis:
        """Return the server that the first Sentinel considers the master."""
        port = self.sentinels[0].master()["port"]
        return next(server for server in (self.master, self.replica) if server.port == port)

    def _all_know_each_other(self) -> bool:
        states = [sentinel.master() for sentinel in self.sentinels]
        return all(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1 for state in states)


class RedisCluster:
    """Three masters that share the 16,384 slots."""

    def __init__(self) -> None:
        self.nodes = [
            Redis(
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                str(free_port()),
                "--cluster-node-timeout",
                "15000",
            )
            for _ in range(3)
        ]
        self.url = f"redis+cluster://{_addresses(self.nodes)}"

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        with started(*self.nodes):
            self._form()
            wait_until(self._is_whole, "every node of the Redis Cluster serves", Service.ready_seconds)
            yield

    def _form(self) -> None:
        slots = (range(5461), range(5461, 10923), range(10923, 16384))
        for node, share in zip(self.nodes, slots, strict=True):
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", share.start, share.stop - 1)
                for other in self.nodes:
                    bus_port = other.command()[other.command().index("--cluster-port") + 1]
                    client.execute_command("CLUSTER MEET", HOST, other.port, bus_port)

    def _is_whole(self) -> bool:
        states = [self._state(node) for node in self.nodes]
        return all(s["cluster_state"] == "ok" and s["cluster_known_nodes"] == "3" for s in states)

    @staticmethod
    def _state(node: Redis) -> dict[str, str]:
        with node.client() as client:
            state: dict[str, str] = client.execute_command("CLUSTER INFO")
        return state


def _addresses(services: Sequence[Service]) -> str:
    return ",".join(f"{HOST}:{service.port}" for service in services)
