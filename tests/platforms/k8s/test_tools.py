"""The findings of other tools on k8s/ and the Dockerfile: Kubernetes' own schemas, checkov, hadolint."""

import json
import os
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.support.deployments import output
from tests.support.kustomize import ENVIRONMENTS, Manifests, manifests, tool, with_component
from tests.support.paths import ROOT

CRDS = ROOT / "tests/support/crds"
MINORS = 3  # number of Kubernetes versions, the newest ones


def run(*command: str) -> None:
    output(command, os.environ)


def versions() -> list[str]:
    """Return the newest minor versions whose schemas kubernetes-validate contains."""
    (schemas,) = (ROOT / ".venv-k8s").glob("lib/python*/site-packages/kubernetes_validate/kubernetes-json-schema")
    found = {
        (int(name[1]), int(name[2])) for path in schemas.iterdir() if (name := re.match(r"v(\d+)\.(\d+)", path.name))
    }
    return [f"{major}.{minor}" for major, minor in sorted(found)[-MINORS:]]


def objections(rendered: Manifests, kind: str, name: str) -> list[str]:
    """Return the errors of an object by the definition of the project that it belongs to."""
    schema = json.loads((CRDS / f"{kind.lower()}.json").read_text())
    errors = Draft202012Validator(schema).iter_errors(rendered.one(kind, name))
    return [f"{error.json_path}: {error.message}" for error in errors]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_is_valid_in_the_newest_versions_of_kubernetes(environment: str, tmp_path: Path) -> None:
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(manifests(environment).text)
    assert len(versions()) == MINORS
    for version in versions():
        run(tool("kubernetes-validate"), "--strict", "--kubernetes-version", version, "--quiet", str(rendered))


@pytest.mark.parametrize("component", ["autoscaling-connections"])
def test_what_production_may_add_is_valid_there_too(component: str, tmp_path: Path) -> None:
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(with_component(component).text)
    for version in versions():
        run(tool("kubernetes-validate"), "--strict", "--kubernetes-version", version, "--quiet", str(rendered))


def test_make_validates_against_the_same_versions() -> None:
    tool("kubernetes-validate")
    assert f"for version in {' '.join(versions())};" in (ROOT / "k8s" / "targets.mk").read_text()


@pytest.mark.parametrize(
    ("component", "kind", "names"),
    [
        ("gateway-api", "HTTPRoute", ["user-admin-messaging", "user-admin-messaging-to-https"]),
        ("external-secrets", "ExternalSecret", ["app-secrets"]),
        ("monitoring", "PodMonitor", ["messaging"]),
        ("monitoring", "PrometheusRule", ["messaging"]),
    ],
)
def test_objects_of_other_projects_are_valid_by_their_definitions(component: str, kind: str, names: list[str]) -> None:
    for name in names:
        assert objections(with_component(component), kind, name) == []


def test_checkov_finds_nothing(tmp_path: Path) -> None:
    for environment in ENVIRONMENTS:
        (tmp_path / f"{environment}.yaml").write_text(manifests(environment).text)
    run(tool("checkov"), "--config-file", "k8s/checkov.yaml", "--directory", str(tmp_path))


def test_what_checkov_is_not_asked_has_a_reason() -> None:
    skipped = re.findall(r"^  - CKV\S+(.*)$", (ROOT / "k8s" / "checkov.yaml").read_text(), re.MULTILINE)
    said = re.findall(r"checkov\.io/skip\d+: CKV\w+(.*)$", manifests("development").text, re.MULTILINE)
    assert skipped
    assert said
    assert [reason for reason in skipped if not reason.startswith(" # ")] == []
    assert [reason for reason in said if not re.match(r"=\w.{20}", reason)] == []


def test_hadolint_finds_nothing() -> None:
    run(tool("hadolint"), "Dockerfile")
