"""The address on which a server listens, and the commands that have to find the server there."""

import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from signal import SIGTERM

import psutil
import pytest

from messaging.operations.health import application
from tests.support.deployments import Kubernetes, Pod, ended, manage, opener
from tests.support.paths import ROOT
from tests.support.redis_services import Redis
from tests.support.services import HOST
from tests.support.smoke import Smoke
from tests.support.waiting import wait_until

EVERYWHERE = "0.0.0.0"  # noqa: S104  for a moment, with the tests' own data


def own_address() -> str:
    """Return an address of this machine that is no loopback address, or skip the test."""
    addresses = [each.address for found in psutil.net_if_addrs().values() for each in found]
    usable = [text for text in addresses if re.fullmatch(r"[0-9.]+", text) and not ip_address(text).is_loopback]
    return usable[0] if usable else pytest.skip("this machine has only loopback addresses")


class ListeningPod(Pod):
    """A pod that listens on `host`, which is "" for the default."""

    host = ""

    def __init__(self, **environment: str) -> None:
        super().__init__(**environment)
        self.url = f"[{self.host}]" if ":" in self.host else self.host
        self.url = {"": HOST, "[::]": "[::1]", EVERYWHERE: HOST}.get(self.url, self.url)
        self.environment["MESSAGING_HOST"] = self.host
        self.environment["ALLOWED_HOSTS"] = self.url

    def is_ready(self) -> bool:
        try:
            opener().open(f"http://{self.url}:{self.health_port}/ready", timeout=5).close()
        except OSError:
            return False
        return True


@pytest.fixture(params=["", "127.0.0.1", "::1", EVERYWHERE, "::", own_address])
def pod(request: pytest.FixtureRequest, kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Pod]:
    host: str | Callable[[], str] = request.param
    kind = type("Pod", (ListeningPod,), {"host": host if isinstance(host, str) else host()})
    with kubernetes.deployed(redis_server.url, pods=1, make=kind) as deployment:
        yield deployment.servers[0]


def test_each_command_finds_the_server_where_it_listens(pod: ListeningPod, tmp_path: Path) -> None:
    smoke = Smoke(tmp_path)
    assert smoke(f"http://{pod.url}:{pod.port}", "--timeout", "30") == 0, smoke.output
    assert json.loads(manage(pod.environment, "messaging_health"))["status"] == "ready"
    known = json.loads(manage(pod.environment, "messaging_check", "--online"))["clients"]
    assert known == {
        "connections": 0, "addresses": 0, "most": 0, "private": False, "doubted": 0, "warning": None,
    }  # fmt: skip
    in_the_image = pod.environment | {"HOST": EVERYWHERE}
    probed = [ended(image_probe(), in_the_image).returncode]
    assert manage(pod.environment, "messaging_drain") == "The server has stopped.\n"
    wait_until(lambda: pod.exit_code == 0, "the process ends")
    assert [*probed, ended(image_probe(), in_the_image).returncode] == [0, 1]


def image_probe() -> list[str]:
    """Return the command of the image's HEALTHCHECK."""
    found = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    command: list[str] = json.loads(found[1])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


@pytest.mark.parametrize("pod", ["::"], indirect=True)
def test_the_probes_of_a_server_for_both_families_answer_in_both(pod: ListeningPod) -> None:
    for host in (HOST, "[::1]"):
        opener().open(f"http://{host}:{pod.health_port}/ready", timeout=5).close()


@pytest.mark.parametrize("pod", [""], indirect=True)
def test_a_server_outside_containers_can_be_reached_from_its_machine_alone(pod: ListeningPod) -> None:
    listening = {each.laddr.ip for each in psutil.Process(pod.pid).net_connections() if each.status == "LISTEN"}
    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize("pod", [own_address], indirect=True)
def test_a_web_page_can_not_drain_a_server_that_listens_on_an_address_of_its_own(pod: ListeningPod) -> None:
    head = f"POST /drain HTTP/1.1\r\nHost: {pod.url}:{pod.health_port}\r\nContent-Length: 0\r\n"
    for line in ("", "Origin: http://evil.example\r\nX-Messaging-Drain: 1\r\n"):
        with socket.create_connection((pod.url, pod.health_port), 5) as client:
            client.sendall(f"{head}{line}\r\n".encode())
            assert client.makefile("rb").readline() == b"HTTP/1.1 404 Not Found\r\n"


@pytest.mark.parametrize(
    ("client", "server", "host", "drains"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:8081", True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", "localhost:8081", True),
        ("::1", "::1", "[::1]:8081", True),
        ("10.0.0.5", "::ffff:10.0.0.5", "10.0.0.5:8081", True),
        ("10.0.0.6", "10.0.0.5", "10.0.0.5:8081", False),
        ("::ffff:10.0.0.6", "::ffff:10.0.0.5", "10.0.0.5:8081", False),
        ("127.0.0.1", "127.0.0.1", "evil.example:8081", False),
    ],
)
async def test_only_the_machine_of_a_server_may_drain_it(
    client: str, server: str, host: str, drains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[int] = []
    monkeypatch.setattr("signal.raise_signal", signals.append)
    events: list[dict[str, object]] = []

    async def send(event: dict[str, object]) -> None:
        events.append(event)

    headers = [(b"host", host.encode()), (b"x-messaging-drain", b"1")]
    scope = {"type": "http", "method": "POST", "path": "/drain", "headers": headers}
    await application(scope | {"client": [client, 50_000], "server": [server, 8081]}, None, send)
    assert (events[0]["status"], signals) == ((202, [SIGTERM]) if drains else (404, []))
