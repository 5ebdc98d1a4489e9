"""The image that podman builds from the Dockerfile: its content, and its containers within their limits."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from signal import SIGTERM

import pytest

from tests.support import containers
from tests.support.cluster import Cluster
from tests.support.containers import BASE, IMAGE, Container, podman
from tests.support.deployments import StaffSession, fetch, probe
from tests.support.kustomize import manifests, quantity
from tests.support.waiting import wait_until

MEGABYTE = 1_000_000
READY_SECONDS = {"websocket-service": 5, "user-frontend": 30, "admin-frontend": 30}  # at the CPU limit
SERVERS = ("websocket-service", "user-frontend", "admin-frontend")

pytestmark = [pytest.mark.usefixtures("image"), pytest.mark.timeout(300)]

_FIND = """
import importlib.util, json, shutil, sys
names = sys.argv[1:]
print(json.dumps([name for name in names if shutil.which(name) or importlib.util.find_spec(name)]))
"""
_STATUS = """
import json, os
pid = open("/proc/1/task/1/children").read().split()[0]
status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
names = ("Uid", "CapEff", "NoNewPrivs", "Seccomp", "PPid")
commands = [open(f"/proc/{process}/cmdline").read().rstrip("\\0").split("\\0") for process in (1, pid)]
places = [path for path in ("/", "/app", "/tmp", "/run", "/var/tmp") if os.access(path, os.W_OK)]
print(json.dumps({name: status[name].split()[0] for name in names} | {"commands": commands, "writable": places}))
"""
# A dead process whose parent did not wait for it, as the end of a `kubectl exec` may leave one.
_ORPHAN = """
import os
if os.fork() == 0:
    child = os.fork()
    if child:
        print(child)
    else:
        os.close(1)
    os._exit(0)
os.wait()
"""
_ZOMBIES = """
import glob
states = [open(path).read().rpartition(")")[2].split()[0] for path in glob.glob("/proc/[0-9]*/stat")]
print(states.count("Z"))
"""


@pytest.fixture
def server(containers_deployment: Cluster) -> Iterator[Container]:
    """Yield one more WebSocket pod, which the ingress does not know."""
    container = containers_deployment.container("websocket-service")
    container.start()
    yield container
    container.end(SIGTERM)


def in_image(*command: str) -> str:
    return podman("run", "--rm", "--network=none", IMAGE, *command)


def test_it_holds_nothing_that_a_pod_does_not_need() -> None:
    unneeded = ["gcc", "cc", "make", "git", "curl", "pip", "boto3", "zappa", "pytest", "playwright", "tests"]
    assert json.loads(in_image("python", "-c", _FIND, *unneeded)) == []
    assert json.loads(in_image("python", "-c", _FIND, "messaging", "daphne")) == ["messaging", "daphne"]


def test_it_adds_less_than_150_mb_to_its_base() -> None:
    added = containers.inspect(IMAGE)["Size"] - containers.inspect(BASE)["Size"]
    assert added < 150 * MEGABYTE


def test_it_says_what_it_is_and_who_runs_it() -> None:
    config = containers.inspect(IMAGE)["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] + config["Cmd"] == ["dumb-init", "--", "python", "-m", "messaging_site.server"]
    assert {"8080/tcp", "8081/tcp"} <= set(config["ExposedPorts"])
    assert "HOST=0.0.0.0" in config["Env"]  # it is reached on the address of its container
    assert {"title", "description", "licenses", "version"} <= {
        label.removeprefix("org.opencontainers.image.") for label in config["Labels"]
    }


def test_no_setting_of_the_build_reaches_it() -> None:
    names = {setting.partition("=")[0] for setting in containers.inspect(IMAGE)["Config"]["Env"]}
    assert not names & {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS"}


@pytest.mark.parametrize("workload", SERVERS)
def test_a_container_starts_within_its_probes_time_and_ends_cleanly(
    workload: str, containers_deployment: Cluster
) -> None:
    container = containers_deployment.container(workload)
    limit = quantity(manifests("production").container(workload)["resources"]["limits"]["cpu"])
    container.start()
    assert container.cpu_seconds / limit < READY_SECONDS[workload]  # the start time if no other process needs the CPU
    assert probe(container, "/health") == (200, {"status": "alive"})
    podman("healthcheck", "run", container.container)
    assert container.end(SIGTERM) == 0
    assert "server stops: 0 sockets still open" in container.log


def test_the_server_is_the_child_of_an_init_and_may_do_nothing_but_serve(server: Container) -> None:
    assert json.loads(server.execute("python", "-c", _STATUS)) == {
        "Uid": "10001",
        "CapEff": "0" * 16,
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "PPid": "1",
        "commands": [
            ["dumb-init", "--", "python", "-m", "messaging_site.server"],
            ["python", "-m", "messaging_site.server"],
        ],
        "writable": ["/tmp"],  # noqa: S108
    }


def test_no_dead_process_stays_behind(server: Container) -> None:
    for _ in range(3):
        server.execute("python", "-c", _ORPHAN)
    wait_until(lambda: server.execute("python", "-c", _ZOMBIES).strip() == "0", "the init has buried the orphans")


def test_what_is_requested_is_what_they_use(containers_deployment: Cluster) -> None:
    """Measured while people load every page; docs/performance.md has the most that WebSockets cost.

    More people would use up PostgreSQL's connections, which has a test of its own.
    """
    origin = containers_deployment.ingress.origin
    staff = StaffSession(containers_deployment.servers, "operator")
    staff.token()
    with ThreadPoolExecutor(4) as crowd:
        pages = list(crowd.map(lambda _: fetch(f"{origin}/user/")[0], range(20)))
        lists = list(crowd.map(lambda _: staff.request("/admin/messaging/message/"), range(10)))
    assert pages == [200] * 20
    assert all(lists)
    for name, pods in containers_deployment.pods.items():
        requested = quantity(manifests("production").container(name)["resources"]["requests"]["memory"])
        assert [pod.memory <= requested for pod in pods] == [True] * len(pods), (name, [pod.memory for pod in pods])
