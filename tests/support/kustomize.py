"""k8s/ as kubectl renders it: the objects of an environment, the variables of containers, the allowed traffic."""

import base64
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import ROOT
from tests.support.services import MissingProgram

ENVIRONMENTS = ("development", "staging", "production")
# The tests' own secrets: those of the environments are not in the repository.
SECRETS = {
    "secret-key": "a key of the tests, long enough for every check and known to everybody",
    "secret-key-fallbacks": "another key of the tests that is long enough for every check and known to everybody",
    "redis-password": "redis-password-of-the-tests",
    "postgres-password": "postgres-password-of-the-tests",
    "database-url": "postgres://messaging:postgres-password-of-the-tests@postgres:5432/messaging",
}
WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")

Object = dict[str, Any]


def tool(name: str) -> str:
    """Return the path of a program of requirements-k8s.txt. Raise MissingProgram if it is not installed."""
    path = ROOT / ".venv-k8s" / "bin" / name
    if not path.exists():
        raise MissingProgram(f"The tests need {name}. Install it: `make .venv-k8s/.installed`.")
    return str(path)


@cache
def manifests(environment: str) -> "Manifests":
    return Manifests(render(f"overlays/{environment}"))


@cache
def with_component(component: str) -> "Manifests":
    """Return the manifests of production with one more component."""
    more = {
        "namespace": "messaging-production",
        "resources": ["../production"],
        "components": [f"../../components/{component}"],
    }
    return Manifests(render("overlays/more", {"overlays/more/kustomization.yaml": yaml.safe_dump(more)}))


def render(directory: str, files: Mapping[str, str] | None = None) -> str:
    """Return kubectl's rendering of a directory of k8s/ with `files` added. Raise AssertionError with its errors."""
    with tempfile.TemporaryDirectory(prefix="messaging-test-") as temporary:
        copy = Path(temporary) / "k8s"
        shutil.copytree(ROOT / "k8s", copy)
        (copy / "overlays/development/.env").write_text("".join(f"{key}={value}\n" for key, value in SECRETS.items()))
        for name, text in (files or {}).items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text(text)
        command = [tool("kubectl"), "kustomize", str(copy / directory)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout


class Manifests:
    """The objects of one rendering."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.objects: list[Object] = list(yaml.safe_load_all(text))

    def all(self, *kinds: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] in kinds]

    def one(self, kind: str, name: str) -> Object:
        """Return the object whose name is `name`, or `name` with a hash."""
        named = [found for found in self.all(kind) if _without_hash(found) == name or found["metadata"]["name"] == name]
        assert len(named) == 1, f"{len(named)} of {kind} {name}"
        return named[0]

    @property
    def pods(self) -> dict[str, Object]:
        """The pod templates, by the names of their workloads."""
        specs = {found["metadata"]["name"]: found["spec"] for found in self.all(*WORKLOADS)}
        return {name: spec.get("jobTemplate", {"spec": spec})["spec"]["template"] for name, spec in specs.items()}

    @property
    def containers(self) -> Iterator[tuple[str, Object]]:
        """Every container, with the name of its workload."""
        for name, pod in self.pods.items():
            assert "initContainers" not in pod["spec"]
            for container in pod["spec"]["containers"]:
                yield name, container

    def container(self, workload: str) -> Object:
        found: Object
        (found,) = self.pods[workload]["spec"]["containers"]
        return found

    def variables(self, workload: str) -> dict[str, str]:
        """Return the environment variables of a workload's container."""
        container = self.container(workload)
        values: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            values |= self._config(source["configMapRef"]["name"])
        for variable in container["env"]:
            match variable:
                case {"name": name, "value": value}:
                    values[name] = value
                case {"name": name, "valueFrom": {"configMapKeyRef": reference}}:
                    values[name] = self._config(reference["name"])[reference["key"]]
        return values

    def environment(self, workload: str, directory: Path) -> dict[str, str]:
        """Return the same variables for a process here. Its secret files are written to `directory`."""
        here = self.write_secrets(workload, directory)
        return {name: here.get(value, value) for name, value in self.variables(workload).items()}

    def write_secrets(self, workload: str, directory: Path) -> dict[str, str]:
        """Write the secret files of `workload` to `directory`. Return their new paths, by those in the container."""
        volumes = {volume["name"]: volume for volume in self.pods[workload]["spec"]["volumes"]}
        paths = {}
        for mount in self.container(workload)["volumeMounts"]:
            for file in volumes[mount["name"]].get("secret", {}).get("items", ()):
                path = directory / file["path"]
                path.write_text(SECRETS[file["key"]])
                paths[f"{mount['mountPath']}/{file['path']}"] = str(path)
        return paths

    def _config(self, name: str) -> dict[str, str]:
        data: dict[str, str] = self.one("ConfigMap", name)["data"]
        return data

    @property
    def routes(self) -> dict[str, str]:
        """The name of the Service behind each path of the Ingress."""
        (rule,) = self.one("Ingress", "user-admin-messaging-ingress")["spec"]["rules"]
        return {path["path"]: path["backend"]["service"]["name"] for path in rule["http"]["paths"]}

    @property
    def secret_values(self) -> set[str]:
        """The decoded values of all Secrets."""
        values = [value for found in self.all("Secret") for value in found.get("data", {}).values()]
        return {base64.b64decode(value).decode() for value in values}


def quantity(text: str) -> float:
    """Return a number that Kubernetes writes as `500m` or `128Mi`."""
    units = {"m": 0.001, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * (units[unit] if unit else 1)


def _without_hash(found: Object) -> str:
    name: str = found["metadata"]["name"]
    return name.rpartition("-")[0] if found["kind"] in ("ConfigMap", "Secret") else name


@dataclass(frozen=True)
class Party:
    """One end of a connection: a pod or, with an `ip`, a host outside the cluster."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ip: str = ""


class Network:
    """The traffic that the network policies of one environment allow, by the rules of the Kubernetes documentation."""

    def __init__(self, manifests: Manifests) -> None:
        self._policies = manifests.all("NetworkPolicy")
        (self.namespace,) = {policy["metadata"]["namespace"] for policy in self._policies}

    def selecting(self, pod: Party, direction: str) -> list[Object]:
        """Return the policies that restrict a pod's traffic in `direction`, `Ingress` or `Egress`."""
        return [
            policy["spec"]
            for policy in self._policies
            if pod.namespace == self.namespace
            and direction in policy["spec"]["policyTypes"]
            and _selects(policy["spec"]["podSelector"], pod.labels)
        ]

    def allows(self, source: Party, target: Party, port: int) -> bool:
        return self._lets(source, target, port, "Egress", "to") and self._lets(target, source, port, "Ingress", "from")

    def _lets(self, pod: Party, peer: Party, port: int, direction: str, peers: str) -> bool:
        policies = self.selecting(pod, direction)
        rules = [rule for policy in policies for rule in policy.get(direction.lower(), ())]
        return not policies or any(
            (peers not in rule or any(self._matches(one, peer) for one in rule[peers]))
            and ("ports" not in rule or any(one["port"] == port for one in rule["ports"]))
            for rule in rules
        )

    def _matches(self, rule: Object, peer: Party) -> bool:
        if "ipBlock" in rule:
            return bool(peer.ip) and ip_address(peer.ip) in ip_network(rule["ipBlock"]["cidr"])
        if peer.ip:
            return False
        if "namespaceSelector" in rule:
            in_namespace = _selects(rule["namespaceSelector"], {"kubernetes.io/metadata.name": peer.namespace})
        else:
            in_namespace = peer.namespace == self.namespace
        return in_namespace and _selects(rule.get("podSelector", {}), peer.labels)


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
