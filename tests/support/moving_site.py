"""A site on pods and on AWS at the same time: one journal, one secret key, and host names that lead to either."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from signal import SIGTERM
from urllib.parse import urlsplit

import psycopg
import pytest

from messaging.service.contracts import ADMINS
from tests.support.aws_deployment import AwsDeployment
from tests.support.chaos_proxy import ChaosProxy
from tests.support.cluster import at_once
from tests.support.deployments import Deployment, Kubernetes, Pod
from tests.support.nginx import Nginx
from tests.support.redis_services import Redis
from tests.support.services import HOST, started
from tests.support.traffic import CALM_SECONDS, Crowd
from tests.support.waiting import eventually

# Seconds between two messages of a visitor, and between two pings: the emulator serves few events at the same time.
PACE = 0.8
HEARTBEAT = 2.0


@dataclass
class Site:
    """Pods behind an ingress, and a WebSocket API behind its own domain, which serve the same path of one host name.

    `resolvers`: the DNS resolvers of the clients; each new connection is a new look-up. `pages`: the host name of the
    pages, which always leads to the pods.
    """

    pods: Deployment[Pod]
    aws: AwsDeployment
    ingress: Nginx
    domain: Nginx
    resolvers: tuple[ChaosProxy, ChaosProxy]
    pages: ChaosProxy

    @property
    def everywhere(self) -> Deployment:
        """The servers of both sides, either of which gives tokens to staff: login and session are shared."""
        return Deployment([*self.pods.servers, *self.aws.servers], self.aws.database)

    def crowd(self) -> Crowd:
        """Return a crowd of which half the visitors and one staff member use one resolver, the rest the other."""
        one, other = self.resolvers
        crowd = Crowd(self.everywhere, one)
        crowd.pace = PACE
        for client in crowd.everybody:
            client.heartbeat = HEARTBEAT
            client.in_turn = True  # a gateway may serve simultaneous frames in any order
        for client in crowd.everybody[::2]:
            client.url = other.websocket_url
        return crowd

    def lead(self, *, to_aws: tuple[bool, bool]) -> None:
        """Set the answer of each resolver: AWS where its item of `to_aws` is true, else the pods."""
        for resolver, moves in zip(self.resolvers, to_aws, strict=True):
            resolver.backends = [(HOST, (self.domain if moves else self.ingress).port)]

    @contextlib.contextmanager
    def trusted_by_aws(self) -> Iterator[str]:
        """Let AWS trust the origin of the pages, and yield it.

        A stack that has the name of the pages as its `SiteDomain` trusts the origin without this.
        """
        origin, own = origin_of(self.pages), self.aws.environment["CSRF_TRUSTED_ORIGINS"]
        self.aws.configure(CSRF_TRUSTED_ORIGINS=f"{own},{origin}")
        yield origin
        self.aws.configure(CSRF_TRUSTED_ORIGINS=own)

    def restart_pods(self) -> None:
        """Restart one pod after another, as `kubectl rollout restart` does. Each sends its clients to other pods."""
        for pod in self.pods.servers:
            assert pod.end(SIGTERM) == 0
            pod.start()

    def stop_pods(self) -> None:
        assert at_once(*(partial(pod.end, SIGTERM) for pod in self.pods.servers)) == [0] * len(self.pods.servers)

    def start_pods(self) -> None:
        at_once(*(pod.start for pod in self.pods.servers))

    async def admins_are(self, number: int) -> None:
        """Return when `number` staff connections are on API Gateway."""
        await eventually(
            lambda: len(self.aws.rows(ADMINS)) == number, f"{number} admins are on API Gateway", CALM_SECONDS
        )


@pytest.fixture
def site(kubernetes: Kubernetes, aws_deployment: AwsDeployment) -> Iterator[Site]:
    with psycopg.connect(aws_deployment.database) as session:
        session.execute("TRUNCATE messaging_conversation CASCADE")
    gateway = urlsplit(aws_deployment.websocket_urls[0])
    assert gateway.port is not None
    redis, domain = Redis(), Nginx({"/ws": [gateway.port]}, path=gateway.path)
    with started(redis, domain), ChaosProxy([]) as one, ChaosProxy([]) as other, ChaosProxy([]) as pages:

        def make(**environment: str) -> Pod:
            pod = Pod(**environment)
            pod.environment["CSRF_TRUSTED_ORIGINS"] += f",{origin_of(pages)}"
            return pod

        environment = {"DATABASE_URL": aws_deployment.database, "WEBSOCKET_PUBLIC_URL": one.websocket_url}
        with kubernetes.deployed(redis.url, environment, make=make) as pods:
            ingress = Nginx({"/": [pod.port for pod in pods.servers]})
            pages.backends = [(HOST, ingress.port)]
            whole = Site(pods, aws_deployment, ingress, domain, (one, other), pages)
            whole.lead(to_aws=(False, False))
            with started(ingress):
                yield whole


def origin_of(name: ChaosProxy) -> str:
    return f"http://{HOST}:{name.port}"
