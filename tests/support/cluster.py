"""An overlay of k8s/, as far as it can run without Kubernetes: containers for its pods, nginx for its ingress.

Nothing here schedules pods, enforces network policies, or scales.
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
    """The Deployments of the overlay, with their replicas. Tests reach them through nginx, as all clients do.

    The ingress leads to all pods in turn. Tests of two servers need to address each one, so there is one more nginx for
    each pod of the WebSockets: `websocket_urls`.
    """

    def __init__(self, ingress: Nginx, doors: Sequence[Nginx], redis: Secured, database: str) -> None:
        super().__init__([ingress], database)
        self.ingress = ingress
        self._doors = doors
        self.pods: dict[str, list[Container]] = {}  # by Deployment
        self._differences = FOR_TESTS | {
            "REDIS_URL": redis.url,
            "ALLOWED_HOSTS": HOST,
            "CSRF_TRUSTED_ORIGINS": ingress.origin,
        }
        self._rendered = manifests(OVERLAY)
        self.containers: list[Container] = []  # of all pods, present and past

    @property
    def websocket_urls(self) -> list[str]:
        return [door.websocket_url for door in self._doors]

    @property
    def log(self) -> str:
        return "".join(container.log for container in self.containers)

    def run(self, code: str) -> str:
        return self.pods["websocket-service"][0].execute("python", "manage.py", "shell", "-c", code)

    def container(self, workload: str, image: str = IMAGE) -> Container:
        """Return a container that is not started yet. It is stopped with the cluster at the latest."""
        container = Container(self._rendered, workload, image, self.database, **self._differences)
        self.containers.append(container)
        return container

    def migrate(self, image: str = IMAGE) -> None:
        self.container("messaging-migrate", image).run()

    def start(self) -> None:
        """Start the migration Job and all pods at once, as `kubectl apply` does: pods are ready after the migration."""
        for found in self._rendered.all("Deployment"):
            name = found["metadata"]["name"]
            self.pods[name] = [self.container(name) for _ in range(found["spec"]["replicas"])]
        pods = [pod for pods in self.pods.values() for pod in pods]
        at_once(self.migrate, *(pod.start for pod in pods))
        self._lead()

    def replace(self, image: str, *names: str) -> None:
        """Replace the oldest pod of each Deployment with a pod of `image`, as a rolling update does.

        `names`: only these Deployments. An old pod gets SIGTERM once its successor is ready and known to the ingress,
        and must exit with 0.
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
    """Run a new cluster with its own Redis, and its own database `name` in `postgres`."""
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
    """Make all `calls` at the same time. Return their results; raise the first one's exception after all have ended."""
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
    return [future.result() for future in futures]
