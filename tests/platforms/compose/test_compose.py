"""compose.yaml, run by podman-compose: the site delivers messages, and a release that does not is undone."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import BASE, BROKEN, ENVIRONMENT, build_broken, podman, private_network
from tests.support.deployments import ended, output
from tests.support.paths import ROOT
from tests.support.services import program
from tests.support.smoke import Smoke
from tests.support.waiting import wait_until

URL = "http://localhost:8080"
RELEASE = "localhost/user-admin-messaging:latest"  # as compose.yaml names it
PATIENT = ("--timeout", "30")  # seconds for each answer: a login alone takes a second of processor time
STAND_INS = ("nginx:1.28-alpine", "redis:8-alpine", "postgres:17-alpine")  # compose.yaml takes these from a registry

pytestmark = [pytest.mark.usefixtures("image"), pytest.mark.timeout(600)]


class Compose:
    """The containers of compose.yaml, and the account of the first operator. `prefix`: begins each command."""

    def __init__(self, directory: Path, prefix: list[str]) -> None:
        files = ("--file", "compose.yaml", "--file", "tests/platforms/compose/addresses.yaml")
        self.command = [str(ROOT / ".venv-k8s/bin/podman-compose"), "--podman-path", program("podman"), *files]
        self.smoke = Smoke(directory, prefix)
        self._prefix = prefix

    def __call__(self, *arguments: str) -> str:
        """Return the output of podman-compose. Raise AssertionError with that output if it fails."""
        return output([*self._prefix, *self.command, *arguments], ENVIRONMENT)

    def log_in(self) -> None:
        """Read the operator's password from the output of the first start."""
        said = self("logs", "prepare")
        found = re.search(r"with the password\s+([\w-]+)", said)
        assert found, said
        self.smoke.environment |= {"SMOKE_USERNAME": "operator", "SMOKE_PASSWORD": found[1]}

    def fault(self) -> str:
        """Return why messages are not delivered through the proxy; "" if they are."""
        code = self.smoke(URL, *PATIENT)
        return f"exit code {code}: {self.smoke.output}" if code else ""

    def deploy(self, image: str) -> tuple[int, str]:
        """Run compose/deploy; return its exit code and its output."""
        smoke = f"DEPLOYMENT_MODE=local .venv/bin/python manage.py messaging_smoke {URL} {shlex.join(PATIENT)}"
        settings = {"COMPOSE": shlex.join(self.command), "ENGINE": "podman", "IMAGE": image, "SMOKE": smoke}
        account = {name: self.smoke.environment[name] for name in ("SMOKE_USERNAME", "SMOKE_PASSWORD")}
        result = ended([*self._prefix, str(ROOT / "compose/deploy")], ENVIRONMENT | settings | account)
        return result.returncode, result.stdout


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[Compose]:
    """Yield the site as `docker compose up` starts it, once it delivers messages."""
    podman("tag", image, RELEASE)
    options = ["--network=host", "--pull=never", f"--build-arg=BASE={BASE}"]
    for name in STAND_INS:
        target = f"--target={name.partition(':')[0]}"
        podman("build", *options, target, f"--tag=docker.io/library/{name}", "compose/stand-ins")
    with private_network() as prefix:
        compose = Compose(tmp_path_factory.mktemp("compose"), prefix)
        try:
            compose("up", "--detach", "--no-build")
            compose.log_in()
            wait_until(compose.fault, "the site delivers", 120, until=lambda fault: not fault)
            yield compose
        finally:
            compose("down", "--volumes")


def test_the_site_delivers_while_one_of_its_servers_is_down(compose: Compose) -> None:
    compose("stop", "server-1")
    assert not compose.fault()
    compose("start", "server-1")


def test_a_release_that_does_not_deliver_is_undone_and_one_that_does_stays(compose: Compose) -> None:
    build_broken()
    before = podman("image", "inspect", "--format", "{{.Id}}", RELEASE).strip()

    code, printed = compose.deploy(BROKEN)
    assert (code, printed.splitlines()[-1]) == (1, f"The rollout failed. Restored: {before}"), printed
    assert not compose.fault()

    code, printed = compose.deploy(before)
    assert (code, printed.splitlines()[-1]) == (0, f"The site now runs the image {before}"), printed
    assert not compose.fault()
