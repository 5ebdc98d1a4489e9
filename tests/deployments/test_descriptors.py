"""A server that may open 1,024 descriptors, the number that a container's processes get by default.

It may often raise the limit by itself, but not always.
"""

import asyncio
import contextlib
import json
import os
import resource
import socket
import sys
from collections.abc import Iterator, Sequence

import psutil
import pytest

from tests.support.configurations import PRODUCTION
from tests.support.connections import new_id, visitor
from tests.support.deployments import Kubernetes, Pod, ended, fetch, output, probe
from tests.support.metrics import value
from tests.support.redis_services import Redis
from tests.support.services import HOST
from tests.support.waiting import SOON, eventually

LIMIT = 1_024
CROWD = 1_100
ROOM_LEFT = 200  # descriptors that no connection to the application's port takes


class LimitedPod(Pod):
    """A pod whose soft limit is LIMIT, below its hard limit. `options`: those of `ulimit`."""

    options = "-Sn"

    def command(self) -> Sequence[str]:
        return self.limited(super().command())

    def limited(self, command: Sequence[str]) -> Sequence[str]:
        return ["sh", "-c", f'ulimit {self.options} {LIMIT} && exec "$@"', "sh", *command]


class NarrowPod(LimitedPod):
    """A pod that can't raise its limit."""

    options = "-n"


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


@pytest.mark.parametrize("make", [LimitedPod, NarrowPod])
async def test_a_crowd_larger_than_the_limit_stops_neither_probes_nor_pages_nor_writers(
    kubernetes: Kubernetes, redis_server: Redis, make: type[Pod]
) -> None:
    with (
        room_for(2 * CROWD),
        kubernetes.deployed(redis_server.url, pods=1, make=make) as deployment,
        contextlib.ExitStack() as crowd,
    ):
        (pod,) = deployment.servers
        async with visitor(pod.websocket_url) as page:
            for _ in range(CROWD):  # no request is needed: each connection takes a descriptor of the server
                last = crowd.enter_context(socket.create_connection((HOST, pod.port), SOON))
            await eventually(
                lambda: psutil.Process(pod.pid).num_fds() > CROWD or is_refused(last), "the last is in, or refused"
            )
            if make is NarrowPod:
                assert psutil.Process(pod.pid).num_fds() < LIMIT - ROOM_LEFT
                assert "connections refused: 768 are open on one port" in pod.log
            answers = (
                await asyncio.to_thread(health, pod),
                await asyncio.to_thread(lambda: probe(pod, "/ready")[0]),
                (await page.request("sendMessage", id=new_id(), content="hello"))["type"],
            )
    assert answers == ((200, {"status": "alive"}), 200, "ack")


def test_a_limit_that_can_not_be_raised_lowers_max_connections_and_everything_says_so(
    kubernetes: Kubernetes, redis_server: Redis
) -> None:
    with kubernetes.deployed(redis_server.url, pods=1, make=NarrowPod) as deployment:
        (pod,) = deployment.servers
        assert isinstance(pod, NarrowPod)
        warning = "MAX_CONNECTIONS lowered from 10000 to 576: this process may open 1024 files (ulimit -Hn)"
        assert [line["level"] for line in map(json.loads, pod.log.splitlines()) if line["message"] == warning] == [
            "WARNING"
        ]
        assert value(pod, "messaging_websocket_connections_limit") == 576
        check = pod.limited([sys.executable, "manage.py", "messaging_check"])
        report = json.loads(output(check, pod.environment))
        assert report["connections_if_started_here"] == {"most": 576, "open_files": LIMIT}


async def test_connections_to_the_probes_leave_the_pages_their_own(kubernetes: Kubernetes, redis_server: Redis) -> None:
    with (
        room_for(2 * CROWD),
        kubernetes.deployed(redis_server.url, pods=1, make=NarrowPod) as deployment,
        contextlib.ExitStack() as crowd,
    ):
        (pod,) = deployment.servers
        for _ in range(CROWD):
            last = crowd.enter_context(socket.create_connection((HOST, pod.health_port), SOON))
        await eventually(lambda: is_refused(last), "the last is refused")
        assert (await asyncio.to_thread(fetch, f"{pod.origin}/user/"))[0] == 200
        # Those that were let in are cut when they have sent nothing for 10 s.
        await eventually(lambda: health(pod) == (200, {"status": "alive"}), "probes are answered again")


def test_a_process_that_may_open_too_few_files_for_a_server_ends_with_a_line_that_says_so() -> None:
    command = ["sh", "-c", 'ulimit -n 200 && exec "$@"', "sh", sys.executable, "-m", "messaging_site.server"]
    environment = PRODUCTION | {"PATH": os.environ["PATH"], "SERVICE_ROLE": "websocket"}
    result = ended(command, environment)
    expected = "configuration: this process may open 200 files (ulimit -Hn); a server needs 258 or more"
    assert (result.returncode, result.stdout.splitlines()[-1]) == (1, expected)
