"""Production's own settings in use: every server with the environment of its manifest, in front of real Sentinels."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from messaging.backends.redis.url import parse_redis_url
from tests.support.deployments import Kubernetes, Pod
from tests.support.kustomize import SECRETS, manifests
from tests.support.nginx import Nginx
from tests.support.redis_services import Redis, RedisSentinel, Secured, Sentinel
from tests.support.services import HOST, started
from tests.support.smoke import Smoke
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PASSWORD = SECRETS["redis-password"]
SERVICES = {
    "websocket-service": "websocket-service",
    "user-frontend-service": "user-frontend",
    "admin-frontend-service": "admin-frontend",
}
# Variables that differ in a test: its own addresses, and no TLS in front.
OTHERWISE = {
    "MESSAGING_HOST",
    "PORT",
    "HEALTH_CHECK_PORT",
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "HTTPS_ONLY",
    "STATIC_ROOT",
}


class SecuredSentinel(RedisSentinel):
    """A Redis with Sentinels, whose number and master name are those of production's REDIS_URL."""

    def __init__(self, url: str) -> None:
        parsed = parse_redis_url(url)
        assert (parsed.kind, parsed.password) == ("sentinel", None)
        self.master = Secured(PASSWORD)
        self.replica = Secured(PASSWORD, "--replicaof", f"{HOST} {self.master.port}")
        self.sentinels = [Sentinel(self.master, parsed.master) for _ in parsed.nodes]
        for sentinel in self.sentinels:
            with sentinel._configuration.open("a") as configuration:
                configuration.write(f"sentinel auth-pass {parsed.master} {PASSWORD}\n")
        self.url = url
        for (name, port), sentinel in zip(parsed.nodes, self.sentinels, strict=True):
            self.url = self.url.replace(f"{name}:{port}", f"{HOST}:{sentinel.port}")


@pytest.fixture(scope="module")
def sentinel() -> Iterator[SecuredSentinel]:
    sentinel = SecuredSentinel(manifests("production").variables("websocket-service")["REDIS_URL"])
    with sentinel.started():
        yield sentinel


@pytest.fixture
def pods(
    sentinel: SecuredSentinel, kubernetes: Kubernetes, redis_server: Redis, tmp_path: Path
) -> Iterator[dict[str, Pod]]:
    """Yield the pods by the name of their Service."""
    with kubernetes.deployed(redis_server.url) as prepared:
        pods = {}
        for service, workload in SERVICES.items():
            files = tmp_path / workload
            files.mkdir()
            pod = Pod(STATIC_ROOT=prepared.servers[0].environment["STATIC_ROOT"])
            needed = {name: value for name, value in pod.environment.items() if name in {"PATH", "HOME"} | OTHERWISE}
            rendered = manifests("production").environment(workload, files)
            (files / "database-url").write_text(prepared.database)
            pod.environment = rendered | needed | {"REDIS_URL": sentinel.url}
            pods[service] = pod
        with started(*pods.values()):
            yield pods


def subscribed(redis: Redis) -> int:
    """Return how many processes receive each other's hints through `redis`."""
    with redis.client() as client:
        return max((count for _, count in client.pubsub_numsub(*client.pubsub_channels())), default=0)


@pytest.mark.timeout(300)
def test_the_site_works_in_front_of_sentinel_and_after_a_failover(
    pods: dict[str, Pod], sentinel: SecuredSentinel, tmp_path: Path
) -> None:
    smoke = Smoke(tmp_path)
    nginx = Nginx({path: [pods[name].port] for path, name in manifests("production").routes.items()})
    with started(nginx):
        wait_until(lambda: subscribed(sentinel.master) == len(pods), "every pod has subscribed")
        assert smoke(nginx.origin) == 0, smoke.output
        sentinel.master.kill()
        wait_until(
            lambda: sentinel.sentinels[0].master()["port"] == sentinel.replica.port,
            "the replica is the master",
            within=70,
        )
        wait_until(lambda: subscribed(sentinel.replica) == len(pods), "every pod has subscribed there", within=70)
        assert smoke(nginx.origin) == 0, smoke.output
