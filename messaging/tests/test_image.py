"""The image, built by podman from the Dockerfile: what is in it, and how containers of it serve."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from functools import partial

import pytest

from messaging.tests import containers
from messaging.tests.containers import BASE, IMAGE, Container, Limits
from messaging.tests.deployments import Deployment, Kubernetes, probe
from messaging.tests.proxy import ChaosProxy
from messaging.tests.redis_services import Redis
from messaging.tests.services import HOST, Nginx, started
from messaging.tests.traffic import Crowd, traffic
from messaging.tests.wire import admin, message, visitor

MEGABYTE = 1_000_000
LIMITS = Limits(cpus=0.5, memory=512 * 1024 * 1024)  # of k8s/base/websocket-service.yaml
READY_SECONDS = 30

pytestmark = [pytest.mark.image, pytest.mark.timeout(300)]

_FIND = """
import importlib.util, json, shutil, sys
names = sys.argv[1:]
print(json.dumps([name for name in names if shutil.which(name) or importlib.util.find_spec(name)]))
"""
_STATUS = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
names = ("Uid", "CapEff", "NoNewPrivs", "Seccomp")
print(json.dumps({name: status[name].split()[0] for name in names} | {"writable": os.access("/app", os.W_OK)}))
"""


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    containers.build()


@pytest.fixture
def deployment(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Deployment]:
    """Two containers."""
    with kubernetes.deployed(redis_server.url, make=partial(Container, LIMITS)) as deployment:
        yield deployment


def test_it_holds_nothing_that_a_pod_does_not_need() -> None:
    unneeded = ["gcc", "cc", "make", "git", "curl", "pip", "boto3", "zappa", "pytest", "playwright", "messaging.tests"]
    assert json.loads(containers.run("python", "-c", _FIND, *unneeded)) == []
    assert json.loads(containers.run("python", "-c", _FIND, "messaging", "daphne")) == ["messaging", "daphne"]


def test_it_adds_less_than_150_mb_to_its_base() -> None:
    added = containers.inspect(IMAGE)["Size"] - containers.inspect(BASE)["Size"]
    assert added < 150 * MEGABYTE


def test_it_says_what_it_is_and_who_runs_it() -> None:
    config = containers.inspect(IMAGE)["Config"]
    assert config["User"] == "10001:10001"
    assert config["Cmd"] == ["python", "-m", "messaging_site.server"]
    assert {"8080/tcp", "8081/tcp"} <= set(config["ExposedPorts"])
    assert {"title", "description", "licenses", "version"} <= {
        label.removeprefix("org.opencontainers.image.") for label in config["Labels"]
    }


def test_no_setting_of_the_build_reaches_it() -> None:
    names = {setting.partition("=")[0] for setting in containers.inspect(IMAGE)["Config"]["Env"]}
    assert not names & {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS"}


async def test_a_container_serves_within_its_limits_and_ends_cleanly(deployment: Deployment) -> None:
    here, there = deployment.servers
    # Started again, by itself, to be measured.
    await asyncio.to_thread(here.end, signal.SIGTERM)
    assert "server ends, 0 sockets left" in here.log
    began = time.monotonic()
    await asyncio.to_thread(here.start)
    assert time.monotonic() - began < READY_SECONDS
    assert probe(here, "/health") == (200, {"status": "alive"})
    status = json.loads(containers.podman("exec", here.container, "python", "-c", _STATUS))
    assert status == {"Uid": "10001", "CapEff": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2", "writable": False}
    containers.podman("healthcheck", "run", here.container)
    token = await deployment.admin_token()
    async with visitor(here.websocket_url) as ada, admin(there.websocket_url, token) as operator:
        await ada.say("hello")
        assert await operator.receive() == message("hello", ada.conversation, connectionId=ada.id)
        await operator.say("hello, Ada", to=ada.conversation)
        assert (await ada.receive())["content"] == "hello, Ada"


async def test_containers_are_replaced_one_by_one_and_nobody_notices(deployment: Deployment) -> None:
    nginx = Nginx(deployment.servers)
    with started(nginx), ChaosProxy([(HOST, nginx.port)]) as proxy:
        crowd = Crowd(deployment, proxy)
        async with traffic(crowd, deployment.database):
            for container in deployment.servers:
                await asyncio.to_thread(container.end, signal.SIGTERM)
                await crowd.goes_on()
                await asyncio.to_thread(container.start)
                await crowd.goes_on()
        assert [client.errors for client in crowd.everybody] == [[] for _ in crowd.everybody]
    assert "Traceback" not in deployment.log
