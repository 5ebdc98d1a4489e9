"""A server that may open 1,024 descriptors, the number that a container's processes get by default."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator, Sequence

import psutil

from tests.support.connections import new_id, visitor
from tests.support.deployments import Kubernetes, Pod, probe
from tests.support.known_faults import known_fault
from tests.support.redis_services import Redis
from tests.support.services import HOST
from tests.support.waiting import SOON, eventually

SOFT_LIMIT = 1_024
CROWD = 1_100


class LimitedPod(Pod):
    """A pod whose soft limit is SOFT_LIMIT, below its hard limit."""

    def command(self) -> Sequence[str]:
        return ["sh", "-c", f'ulimit -Sn {SOFT_LIMIT} && exec "$@"', "sh", *super().command()]


@contextlib.contextmanager
def room_for(descriptors: int) -> Iterator[None]:
    """Raise the soft limit of this process, which holds the clients' ends, to its hard limit."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most >= descriptors, f"the tests need {descriptors} descriptors: `ulimit -Hn` is {most}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def is_refused(connection: socket.socket) -> bool:
    """Return whether the server has closed `connection`."""
    connection.setblocking(False)
    try:
        return not connection.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def health(pod: Pod) -> object:
    """Return the answer to the probe, or the error that occurred instead."""
    try:
        return probe(pod, "/health")
    except OSError as error:
        return error


@known_fault("C3")
async def test_a_crowd_larger_than_the_soft_limit_stops_neither_probes_nor_writers(
    kubernetes: Kubernetes, redis_server: Redis
) -> None:
    with (
        room_for(2 * CROWD),
        kubernetes.deployed(redis_server.url, pods=1, make=LimitedPod) as deployment,
        contextlib.ExitStack() as crowd,
    ):
        (pod,) = deployment.servers
        async with visitor(pod.websocket_url) as page:
            for _ in range(CROWD):  # no request is needed: each connection takes a descriptor of the server
                last = crowd.enter_context(socket.create_connection((HOST, pod.port), SOON))
            await eventually(
                lambda: psutil.Process(pod.pid).num_fds() > CROWD or is_refused(last), "the last is in, or refused"
            )
            answers = (
                await asyncio.to_thread(health, pod),
                (await page.request("sendMessage", id=new_id(), content="hello"))["type"],
            )
    assert answers == ((200, {"status": "alive"}), "ack")
