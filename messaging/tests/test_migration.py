"""A site moves from pods to API Gateway and back while people write: one message log, one secret key, names that lead
elsewhere. docs/migration.md says it in commands.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from signal import SIGTERM
from urllib.parse import urlsplit

import psycopg
import pytest

from messaging.contracts import ADMINS, UNREAD
from messaging.tests.aws_deployment import AwsDeployment
from messaging.tests.cluster import at_once
from messaging.tests.deployments import Deployment, Kubernetes
from messaging.tests.nginx import Nginx
from messaging.tests.proxy import ChaosProxy
from messaging.tests.redis_services import Redis
from messaging.tests.services import HOST, started
from messaging.tests.traffic import CALM_SECONDS, Crowd, traffic
from messaging.tests.wire import admin, eventually, new_id, visitor

PACE = 1.0  # seconds between two messages of a visitor: the emulation serves one event at a time

pytestmark = pytest.mark.timeout(300)


@dataclass
class Site:
    """Pods behind an ingress and a WebSocket API behind its own domain, which serve the same path of the same name.

    `resolvers` are what people find the name by. A record of theirs is looked up for each new connection.
    """

    pods: Deployment
    aws: AwsDeployment
    ingress: Nginx
    domain: Nginx
    resolvers: tuple[ChaosProxy, ChaosProxy]

    @property
    def everywhere(self) -> Deployment:
        """Where staff get their tokens: the login and its session are those of either side."""
        return Deployment([*self.pods.servers, *self.aws.servers], self.aws.database)

    def crowd(self) -> Crowd:
        """Half of the visitors and one of the admins ask the one resolver, all others the other."""
        one, other = self.resolvers
        crowd = Crowd(self.everywhere, one)
        crowd.pace = PACE
        for client in crowd.everybody[::2]:
            client.url = other.websocket_url
        return crowd

    def restart_pods(self) -> None:
        """As `kubectl rollout restart` does: one after another sends its clients elsewhere, and is back."""
        for pod in self.pods.servers:
            assert pod.end(SIGTERM) == 0
            pod.start()

    def stop_pods(self) -> None:
        assert at_once(*(partial(pod.end, SIGTERM) for pod in self.pods.servers)) == [0] * len(self.pods.servers)

    def start_pods(self) -> None:
        at_once(*(pod.start for pod in self.pods.servers))

    async def admins_are(self, number: int) -> None:
        """Returns when so many of them are on API Gateway."""
        await eventually(
            lambda: len(self.aws.rows(ADMINS)) == number, f"{number} admins are on API Gateway", CALM_SECONDS
        )


@pytest.fixture
def site(kubernetes: Kubernetes, redis_server: Redis, aws_deployment: AwsDeployment) -> Iterator[Site]:
    with psycopg.connect(aws_deployment.database) as session:
        session.execute("TRUNCATE messaging_conversation CASCADE")
    gateway = urlsplit(aws_deployment.websocket_urls[0])
    assert gateway.port is not None
    with contextlib.ExitStack() as stack:
        pods = stack.enter_context(kubernetes.deployed(redis_server.url, DATABASE_URL=aws_deployment.database))
        ingress = Nginx({"/": [pod.port for pod in pods.servers]})
        domain = Nginx({"/ws": [gateway.port]}, path=gateway.path)
        stack.enter_context(started(ingress, domain))
        one, other = (stack.enter_context(ChaosProxy([(HOST, ingress.port)])) for _ in range(2))
        yield Site(pods, aws_deployment, ingress, domain, (one, other))


async def test_live_traffic_moves_to_aws_and_back(site: Site) -> None:
    to_pods, to_aws = [(HOST, site.ingress.port)], [(HOST, site.domain.port)]
    one, other = site.resolvers
    crowd = site.crowd()
    await site.aws.forgets_the_past()
    async with traffic(crowd, site.aws.database):
        await site.admins_are(0)
        one.backends = to_aws  # both at once, half of the people on each
        await asyncio.to_thread(site.restart_pods)
        await site.admins_are(1)
        await crowd.goes_on()
        other.backends = to_aws  # cut over
        await asyncio.to_thread(site.stop_pods)
        await site.admins_are(2)
        await crowd.goes_on()
        await asyncio.to_thread(site.start_pods)  # and back
        one.backends = other.backends = to_pods
        while "connected now: 0" not in await asyncio.to_thread(site.aws.manage, "messaging_drain"):
            pass  # somebody was on the way there
        await site.admins_are(0)
        await crowd.goes_on()
    assert "Traceback" not in site.aws.log + site.pods.log


async def test_what_is_said_on_one_side_is_read_on_the_other(site: Site) -> None:
    """Pods look into the log every two seconds, API Gateway's clients whenever they ping."""
    pod, gateway = site.pods.websocket_urls[0], site.aws.websocket_urls[0]
    here, there = [await site.everywhere.admin_token(name) for name in ("operator", "colleague")]
    async with admin(pod, here) as on_pod, admin(gateway, there) as on_aws, visitor(pod) as page:
        await page.say("from a pod")
        assert (await on_pod.receive())["content"] == "from a pod"
        pong = await on_aws.request("ping", id=new_id())
        assert pong["cursor"] == UNREAD
        history = await on_aws.request("history", id=new_id())
        assert [message["content"] for message in history["messages"]] == ["from a pod"]
        await on_aws.say("from AWS", to=page.conversation)
        assert (await page.receive())["content"] == "from AWS"
        assert (await on_pod.receive())["content"] == "from AWS"
