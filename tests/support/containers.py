"""The image, built by podman, and its containers, restricted to what their manifests allow."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.deployments import Pod, output
from tests.support.kustomize import Manifests, Object, quantity
from tests.support.paths import ROOT
from tests.support.services import INHERITED, program

BASE = "localhost/python:debian"
IMAGE = "localhost/user-admin-messaging:test"
BROKEN = "localhost/user-admin-messaging:broken"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ENVIRONMENT = {**os.environ, "CONTAINERS_CONF": str(ROOT / "tests/support/containers.conf")}


def podman(*arguments: str) -> str:
    """Return podman's output. Raise AssertionError with its errors if it fails, MissingProgram if it is missing."""
    result = subprocess.run(
        [program("podman"), *arguments], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"podman {arguments[0]} failed:\n{result.stdout}{result.stderr}"
    return result.stdout


@contextlib.contextmanager
def private_network() -> Iterator[list[str]]:
    """Yield the first words of each command that is to run in a network of its own; none unless this is root.

    Root's podman makes its bridges in the machine's own network, and Chromium aborts all that it is loading whenever
    an interface comes or goes (net::ERR_NETWORK_CHANGED): pages of other tests lost their scripts. The podman of any
    other user has a network of its own.
    """
    if os.geteuid() != 0:
        yield []
        return
    # It says when the loopback interface is up, then keeps the network until its input ends.
    keep = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"]
    with subprocess.Popen(keep, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == b"up\n"
        yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]
        holder.stdin.close()


def build(tag: str = IMAGE, context: Path = ROOT) -> None:
    """Build the image of a checkout on a base made of Debian packages, so that no registry is needed.

    Raise AssertionError with the errors if that fails, MissingProgram if podman is missing.
    """
    if BASE not in podman("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split():
        output([str(ROOT / "scripts/base-image"), BASE], ENVIRONMENT)
    # The machine's own certificates: its own proxy may be in front of the package index.
    _build(BASE, tag, f"--volume={CERTIFICATES}:{CERTIFICATES}:ro", str(context))


def build_broken() -> None:
    """Build BROKEN from IMAGE: a release that becomes ready but does not deliver. Raises as `build` does."""
    _build(IMAGE, BROKEN, "--file=tests/support/broken.Containerfile")


def _build(base: str, tag: str, *arguments: str) -> None:
    # On the machine's own network, which a build does not change (see `private_network`).
    options = ("--format=docker", "--pull=never", "--network=host", f"--build-arg=BASE={base}", f"--tag={tag}")
    podman("build", *options, *arguments)


def inspect(name: str) -> Any:
    """Return what `podman inspect` reports about an image or a container."""
    return json.loads(podman("inspect", name))[0]


class Container(Pod):
    """A pod of `workload` on the network of this machine. `environment`: differences from the manifest's variables."""

    ready_seconds = 180  # at a quarter of a core, on a busy machine

    def __init__(self, rendered: Manifests, workload: str, image: str, database: str, **environment: str) -> None:
        super().__init__(**environment)
        self.name = workload
        self.image = image
        self.container = f"messaging-{workload}-{uuid4().hex[:8]}"
        self._arguments = [*_allowed(rendered.pods[workload], self._secrets(rendered, database)), image]
        self._arguments += rendered.container(workload).get("args", ())
        for name in (*INHERITED, "SECRET_KEY", "HTTPS_ONLY", "DEPLOYMENT_MODE"):
            self.environment.pop(name, None)
        self.environment = rendered.variables(workload) | self.environment

    def _secrets(self, rendered: Manifests, database: str) -> Path:
        directory = self.directory / "secrets"
        directory.mkdir()
        rendered.write_secrets(self.name, directory)
        (directory / "database-url").write_text(database)
        for path in (directory, *directory.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o444)
        return directory

    def command(self) -> Sequence[str]:
        # podman forwards signals to the container and exits with its exit code.
        own = [f"--env={key}={value}" for key, value in self.environment.items()]
        podman = ["env", f"CONTAINERS_CONF={ENVIRONMENT['CONTAINERS_CONF']}", program("podman")]
        return [*podman, "run", "--rm", f"--name={self.container}", *own, *self._arguments]

    def run(self) -> str:
        """Run a Job. Return its output; raise AssertionError with the output if it fails."""
        return output(self.command(), ENVIRONMENT)

    @property
    def memory(self) -> int:
        """The working set in bytes, as Kubernetes calls the memory that counts against the request."""
        group, version = self._control_group("memory")
        used, inactive = {1: ("usage_in_bytes", "total_inactive_file"), 2: ("current", "inactive_file")}[version]
        details = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int((group / f"memory.{used}").read_text()) - int(details[inactive])

    @property
    def cpu_seconds(self) -> float:
        """The CPU seconds used since the start, which do not depend on other load on the machine."""
        group, version = self._control_group("cpuacct")
        if version == 1:
            return int((group / "cpuacct.usage").read_text()) / 1e9
        return int((group / "cpu.stat").read_text().split()[1]) / 1e6

    def _control_group(self, controller: str) -> tuple[Path, int]:
        """Return the directory of the container's control group and the version of cgroups, 1 or 2."""
        lines = Path(f"/proc/{inspect(self.container)['State']['Pid']}/cgroup").read_text().splitlines()
        for controllers, path in (line.split(":", 2)[1:] for line in lines):
            if controller in controllers.split(","):
                return Path(f"/sys/fs/cgroup/{controllers}{path}"), 1
        return Path(f"/sys/fs/cgroup{lines[-1].removeprefix('0::')}"), 2

    def execute(self, *command: str) -> str:
        """Run `command` in the running container, as `kubectl exec` would. Return its output."""
        return podman("exec", self.container, *command)

    def kill(self) -> None:
        podman("kill", self.container)  # SIGKILL to podman would leave the container behind
        super().kill()


def _allowed(pod: Object, secrets: Path) -> Iterator[str]:
    """Yield podman's options that restrict a container as its manifest says."""
    (container,) = pod["spec"]["containers"]
    security = pod["spec"]["securityContext"] | container["securityContext"]
    limits = container["resources"]["limits"]
    yield "--network=host"
    yield f"--user={security['runAsUser']}:{security['runAsGroup']}"
    yield f"--cpus={quantity(limits['cpu'])}"
    yield f"--memory={quantity(limits['memory']):.0f}"
    yield from (f"--cap-drop={capability}" for capability in security["capabilities"]["drop"])
    if not security["allowPrivilegeEscalation"]:
        yield "--security-opt=no-new-privileges"
    if security["readOnlyRootFilesystem"]:
        yield from ("--read-only", "--read-only-tmpfs=false")
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    for mount in container["volumeMounts"]:
        match volumes[mount["name"]]:
            case {"emptyDir": {"sizeLimit": size}}:
                yield f"--tmpfs={mount['mountPath']}:size={quantity(size):.0f},mode=1777"
            case {"secret": _}:
                yield f"--volume={secrets}:{mount['mountPath']}:ro"
