"""The image, built by podman and run as a pod runs it: not root, nothing to write to, within the manifests' limits."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from messaging.tests.deployments import ROOT, Pod
from messaging.tests.services import INHERITED, program

BASE = "localhost/python:debian"
IMAGE = "localhost/user-admin-messaging:test"
RESTRICTED = ["--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# Debian's podman asks for more than a machine within a machine may give, and its crun needs cgroups of one version.
_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""


@dataclass(frozen=True)
class Limits:
    """What a manifest allows one container. `cpus`: of one core; `memory`: bytes."""

    cpus: float
    memory: int


def podman(*arguments: str) -> str:
    """What `podman` printed. Raises AssertionError with its errors where it failed, MissingProgram."""
    result = subprocess.run(
        [program("podman"), *arguments], cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"podman {arguments[0]} failed:\n{result.stdout}{result.stderr}"
    return result.stdout


def build() -> None:
    """IMAGE from the Dockerfile, on a base that Debian's packages make: no registry is asked."""
    if BASE not in podman("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split():
        subprocess.run([ROOT / "scripts/base-image", BASE], env=_environment(), check=True)
    # The machine's own certificates: a proxy of its own may stand before the package index.
    options = ["--network=host", f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"]
    podman("build", "--format=docker", "--pull=never", f"--build-arg=BASE={BASE}", *options, f"--tag={IMAGE}", ".")


def inspect(name: str) -> Any:
    """What podman knows of an image or a container."""
    return json.loads(podman("inspect", name))[0]


def run(*command: str) -> str:
    """What `command` printed in a container of its own."""
    return podman("run", "--rm", *RESTRICTED, IMAGE, *command)


class Container(Pod):
    """A pod's container, on the network of this machine."""

    name = "the container"

    def __init__(self, limits: Limits, **environment: str) -> None:
        super().__init__(**environment)
        self.environment.pop("STATIC_ROOT", None)  # the image has its own
        self.limits = limits
        self.container = f"messaging-{uuid4().hex[:12]}"

    def command(self) -> Sequence[str]:
        # podman hands signals on to the container and ends with its exit code.
        own = [f"--env={key}={value}" for key, value in self.environment.items() if key not in INHERITED]
        limits = [f"--cpus={self.limits.cpus}", f"--memory={self.limits.memory}"]
        podman = ["env", f"CONTAINERS_CONF={_configuration()}", program("podman")]
        return [*podman, "run", "--rm", f"--name={self.container}", *RESTRICTED, *limits, *own, IMAGE]

    def kill(self) -> None:
        podman("kill", self.container)  # SIGKILL to podman would leave the container behind
        super().kill()


def _environment() -> Mapping[str, str]:
    return {**os.environ, "CONTAINERS_CONF": str(_configuration())}


def _configuration() -> Path:
    path = Path(tempfile.gettempdir()) / f"messaging-containers-{os.getuid()}.conf"
    path.write_text(_CONFIGURATION)
    return path
