"""Pods with the CPU and memory limits of k8s/base, set by control groups, behind the routes of the ingress.

Processes instead of containers: they need root on Linux, but neither an image nor podman.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import yaml

from tests.support.deployments import Kubernetes, ProductionPod
from tests.support.kustomize import quantity
from tests.support.nginx import Nginx
from tests.support.paths import ROOT
from tests.support.services import started

ROOT_GROUP = Path("/sys/fs/cgroup")
PERIOD = 100_000  # microseconds of one period of a CPU limit: the kernel's default, and that of Kubernetes
# By the value of SERVICE_ROLE: the Deployment, and how many of its pods serve the site.
WORKLOADS = {"user": ("user-frontend", 2), "admin": ("admin-frontend", 1), "websocket": ("websocket-service", 2)}


class NoControlGroups(Exception):
    """This process can't limit others; the text says why, and what it needs."""


@cache
def manifest(workload: str) -> dict[str, Any]:
    """Return the Deployment `workload` as k8s/base has it."""
    (found,) = (
        document
        for document in yaml.safe_load_all((ROOT / f"k8s/base/{workload}.yaml").read_text())
        if document["kind"] == "Deployment"
    )
    deployment: dict[str, Any] = found
    return deployment


def limits(workload: str) -> dict[str, str]:
    """Return the limits of the container of `workload`: `cpu` and `memory`, as Kubernetes writes them."""
    (container,) = manifest(workload)["spec"]["template"]["spec"]["containers"]
    found: dict[str, str] = container["resources"]["limits"]
    return found


class ControlGroup:
    """A control group of version 1 or 2. Raise NoControlGroups if it can't be made."""

    def __init__(self, memory: float) -> None:
        name = f"messaging-test-{uuid4().hex[:8]}"
        self._version_2 = (ROOT_GROUP / "cgroup.controllers").exists()
        try:
            if self._version_2:
                (ROOT_GROUP / "cgroup.subtree_control").write_text("+cpu +memory")
            parents = [ROOT_GROUP] if self._version_2 else [ROOT_GROUP / "cpu", ROOT_GROUP / "memory"]
            self.directories = [parent / name for parent in parents]
            for directory in self.directories:
                directory.mkdir()
            self._write("memory.max" if self._version_2 else "memory.limit_in_bytes", f"{memory:.0f}")
        except OSError as error:
            raise NoControlGroups(
                f"The limits of the manifests need root on Linux, with control groups that it may change: {error}"
            ) from error

    def limit_cpu(self, cores: float) -> None:
        quota = f"{cores * PERIOD:.0f}"
        self._write(*(("cpu.max", f"{quota} {PERIOD}") if self._version_2 else ("cpu.cfs_quota_us", quota)))

    def _write(self, file: str, value: str) -> None:
        (self.directories[-1 if file.startswith("memory") else 0] / file).write_text(value)

    def has(self, pid: int) -> bool:
        """Return whether a process is in this group, for all that the group limits."""
        members = [(directory / "cgroup.procs").read_text().split() for directory in self.directories]
        return all(str(pid) in found for found in members)

    def remove(self) -> None:
        """Remove the group, whose processes have ended. Harmless if it is gone."""
        for directory in self.directories:
            with contextlib.suppress(FileNotFoundError):
                directory.rmdir()


class LimitedPod(ProductionPod):
    """A pod of one role, with the memory of its manifest; its CPU is limited by `limit_cpu`.

    `cpu`: another limit than the manifest's.
    """

    def __init__(self, role: str, cpu: str | None = None, **environment: str) -> None:
        workload, _ = WORKLOADS[role]
        allowed = limits(workload)
        self._group = ControlGroup(quantity(allowed["memory"]))
        self._cpu = quantity(cpu or allowed["cpu"])
        super().__init__(SERVICE_ROLE=role, **environment)
        self.name, self.role = workload, role

    def command(self) -> Sequence[str]:
        enter = "".join(f"echo $$ > {directory}/cgroup.procs; " for directory in self._group.directories)
        return ["sh", "-e", "-c", f'{enter}exec "$@"', "sh", *super().command()]

    def limit_cpu(self) -> None:
        assert self._group.has(self.pid), f"{self.name} is not in its control group"
        self._group.limit_cpu(self._cpu)

    @property
    def peak_bytes(self) -> int:
        """The most memory that the process has had resident so far."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def stop(self) -> None:
        super().stop()
        self._group.remove()


@dataclass(frozen=True)
class LimitedSite:
    """The site behind nginx with the routes of the ingress. All its clients have one address."""

    origin: str
    _pods: Sequence[LimitedPod]
    database: str

    def pods(self, role: str) -> list[LimitedPod]:
        return [pod for pod in self._pods if pod.role == role]


@contextlib.contextmanager
def limited_site(
    kubernetes: Kubernetes,
    redis_url: str,
    variables: Mapping[str, str] = MappingProxyType({}),
    cpu: Mapping[str, str] = MappingProxyType({}),
    new: Callable[..., LimitedPod] = LimitedPod,
) -> Iterator[LimitedSite]:
    """Run WORKLOADS behind nginx. `cpu`: by role, another limit than the manifest's.

    CPU is limited when all pods are ready: a start takes up to 5 seconds at a quarter of a core.
    """
    if os.geteuid() != 0:
        raise NoControlGroups("The limits of the manifests need root on Linux: this is another user.")
    roles = iter([role for role, (_, count) in WORKLOADS.items() for _ in range(count)])

    def make(**environment: str) -> LimitedPod:
        role = next(roles)
        return new(role, cpu.get(role), **environment)

    count = sum(count for _, count in WORKLOADS.values())
    own = {"TRUSTED_PROXY_COUNT": "1", **variables}
    with kubernetes.deployed(redis_url, own, pods=count, make=make) as deployment:
        pods = [pod for pod in deployment.servers if isinstance(pod, LimitedPod)]
        for pod in pods:
            pod.limit_cpu()
        ports = {role: [pod.port for pod in pods if pod.role == role] for role in WORKLOADS}
        nginx = Nginx({"/ws": ports["websocket"], "/admin": ports["admin"], "/": ports["user"]})
        with started(nginx):
            yield LimitedSite(nginx.origin, pods, deployment.database)
