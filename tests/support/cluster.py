"""An overlay of k8s/ as far as it runs without Kubernetes: containers for its pods, nginx for its ingress.

What nothing here does: schedule pods, enforce network policies, scale.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from signal import SIGTERM
from typing import TypeVar

from tests.support.containers import IMAGE, Container
from tests.support.deployments import CREATE_STAFF, FOR_TESTS, Deployment
from tests.support.kustomize import SECRETS, manifests
from tests.support.nginx import Nginx
from tests.support.redis_services import Secured
from tests.support.services import HOST, Postgres, started

T = TypeVar("T")

OVERLAY = "development"  # the one without TLS in front; limits, roles and routes are those of every overlay


class Cluster(Deployment[Nginx]):
    """Every Deployment of the overlay, with its replicas. Tests come through nginx, as everybody does.

    The ingress leads to all pods in turn. As tests of two servers want to know which is which, there is one more nginx
    for each pod of the WebSockets: `websocket_urls`.
    """

    def __init__(self, ingress: Nginx, doors: Sequence[Nginx], redis: Secured, database: str) -> None:
        super().__init__([ingress], database)
        self.ingress = ingress
        self._doors = doors
        self.pods: dict[str, list[Container]] = {}  # of each Deployment
        self._differences = FOR_TESTS | {
            "REDIS_URL": redis.url,
            "ALLOWED_HOSTS": HOST,
            "CSRF_TRUSTED_ORIGINS": ingress.origin,
        }
        self._rendered = manifests(OVERLAY)
        self.containers: list[Container] = []  # of every pod that ever was

    @property
    def websocket_urls(self) -> list[str]:
        return [door.websocket_url for door in self._doors]

    @property
    def log(self) -> str:
        return "".join(container.log for container in self.containers)

    def run(self, code: str) -> str:
        return self.pods["websocket-service"][0].execute("python", "manage.py", "shell", "-c", code)

    def container(self, workload: str, image: str = IMAGE) -> Container:
        """Not started yet; it ends with the cluster at the latest."""
        container = Container(self._rendered, workload, image, self.database, **self._differences)
        self.containers.append(container)
        return container

    def migrate(self, image: str = IMAGE) -> None:
        self.container("messaging-migrate", image).run()

    def start(self) -> None:
        """All at once, as `kubectl apply` does: pods are not ready before the Job has migrated."""
        for found in self._rendered.all("Deployment"):
            name = found["metadata"]["name"]
            self.pods[name] = [self.container(name) for _ in range(found["spec"]["replicas"])]
        pods = [pod for pods in self.pods.values() for pod in pods]
        at_once(self.migrate, *(pod.start for pod in pods))
        self._lead()

    def replace(self, image: str, *names: str) -> None:
        """Puts a pod of `image` in the place of the oldest one of each Deployment, as a rolling update does.

        `names`: of these alone. No pod goes before its successor is ready and known to the ingress; then it ends by
        itself.
        """
        new = {name: self.container(name, image) for name in names or self.pods}
        at_once(*(pod.start for pod in new.values()))
        old = [self.pods[name].pop(0) for name in new]
        for name, pod in new.items():
            self.pods[name].append(pod)
        self._lead()
        assert at_once(*(partial(pod.end, SIGTERM) for pod in old)) == [0] * len(old)

    def _lead(self) -> None:
        routes = {path: self._ports(service) for path, service in self._rendered.routes.items()}
        self.ingress.lead(routes)
        for door, port in zip(self._doors, routes["/ws"], strict=True):
            door.lead(routes | {"/ws": [port]})

    def _ports(self, service: str) -> list[int]:
        selector = self._rendered.one("Service", service)["spec"]["selector"].items()
        names = [name for name in self.pods if selector <= self._rendered.pods[name]["metadata"]["labels"].items()]
        return [pod.port for name in names for pod in self.pods[name]]

    def stop(self) -> None:
        at_once(*(container.stop for container in self.containers))


@contextlib.contextmanager
def cluster(postgres: Postgres, name: str) -> Iterator[Cluster]:
    """An environment of its own, `name` in PostgreSQL, from nothing."""
    redis, ingress, doors = Secured(SECRETS["redis-password"]), Nginx(), [Nginx(), Nginx()]
    with started(redis, ingress, *doors):
        cluster = Cluster(ingress, doors, redis, postgres.create_database(name))
        try:
            cluster.start()
            cluster.run(CREATE_STAFF)
            yield cluster
        finally:
            cluster.stop()


def at_once(*calls: Callable[[], T]) -> list[T]:
    """What all calls return, made side by side. Raises what one of them raised, when all have ended."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
    return [future.result() for future in futures]
