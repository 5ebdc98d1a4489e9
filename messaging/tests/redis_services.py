"""Redis in the three shapes that the product connects to: one server, Sentinel, Cluster."""

import contextlib
from collections.abc import Iterator, Sequence

import redis

from messaging.tests.services import HOST, Service, free_port, program, started, wait_until


class Redis(Service):
    """One Redis that keeps nothing on disk: killed and started again, it is empty."""

    name = "Redis"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    def command(self) -> Sequence[str]:
        common = [
            "--port",
            str(self.port),
            "--bind",
            HOST,
            "--dir",
            str(self.directory),
            "--save",
            "",
            "--loglevel",
            "warning",
        ]
        # Without the delay of 0 a new replica waits 5 s for more replicas before it gets its copy.
        return [program("redis-server"), *common, "--repl-diskless-sync-delay", "0", *self._options]

    def is_ready(self) -> bool:
        with contextlib.suppress(redis.ConnectionError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, decode_responses=True)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"


class Secured(Redis):
    """One Redis that asks for a password."""

    def __init__(self, password: str, *options: str) -> None:
        super().__init__("--requirepass", password, "--masterauth", password, *options)
        self._password = password

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, password=self._password, decode_responses=True)


class Sentinel(Redis):
    name = "Redis Sentinel"

    def __init__(self, master: Redis, name: str) -> None:
        super().__init__("--sentinel")
        self._master_name = name
        self._configuration = self.directory / "sentinel.conf"  # Sentinel rewrites it
        self._configuration.write_text(
            f"port {self.port}\nbind {HOST}\ndir {self.directory}\nloglevel warning\n"
            f"sentinel monitor {name} {HOST} {master.port} 2\n"
            f"sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 5000\n"
        )

    def command(self) -> Sequence[str]:
        return [program("redis-server"), str(self._configuration), "--sentinel"]

    def master(self) -> dict[str, object]:
        with self.client() as client:
            return client.sentinel_master(self._master_name)


class RedisSentinel:
    """A master, its replica and the three Sentinels that watch them."""

    MASTER_NAME = "messaging"

    def __init__(self) -> None:
        self.master = Redis()
        self.replica = Redis("--replicaof", f"{HOST} {self.master.port}")
        self.sentinels = [Sentinel(self.master, self.MASTER_NAME) for _ in range(3)]
        self.url = f"redis+sentinel://{_addresses(self.sentinels)}/{self.MASTER_NAME}/0"

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        with started(self.master, self.replica, *self.sentinels):
            wait_until(self._all_know_each_other, "the Sentinels know each other and the replica")
            yield

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
                "2000",
            )
            for _ in range(3)
        ]
        self.url = f"redis+cluster://{_addresses(self.nodes)}"

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        with started(*self.nodes):
            self._form()
            wait_until(self._is_whole, "every node of the Redis Cluster serves")
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
            return client.execute_command("CLUSTER INFO")


def _addresses(services: Sequence[Service]) -> str:
    return ",".join(f"{HOST}:{service.port}" for service in services)
