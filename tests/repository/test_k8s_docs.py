"""The names in docs/kubernetes.md: all components, targets, variables and secrets."""

import re

from tests.support.kustomize import SECRETS, manifests, with_component
from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text()
TARGETS = (ROOT / "k8s" / "targets.mk").read_text()


def in_tables(pattern: str) -> set[str]:
    """Return the names in the first cells of the document's tables that match `pattern`."""
    cells = re.findall(r"^\| ([^|]+) \|", DOCUMENT, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell) if re.fullmatch(pattern, name)}


def test_every_component_is_described() -> None:
    components = {path.name for path in (ROOT / "k8s" / "components").iterdir()}
    assert components - in_tables("[a-z-]+") == set()


def test_every_target_is_described() -> None:
    targets = set(re.findall(r"^((?:k8s|kind|image)[a-z0-9-]*):.*##", TARGETS, re.MULTILINE))
    assert targets == in_tables("(?:k8s|kind|image)[a-z0-9-]*")


def test_every_variable_of_those_targets_is_described() -> None:
    recipes = TARGETS[TARGETS.index("\nimage:") : TARGETS.index("\nkind-down:")]
    used = set(re.findall(r"\$\(([A-Z]+)\)", recipes))
    settable = {*re.findall(r"^([A-Z]+) \?=", TARGETS, re.MULTILINE), "CONFIRM"} & used
    assert settable | {"ENV", "URL"} == in_tables("[A-Z]+")


def test_every_key_of_app_secrets_is_described() -> None:
    keys = {item["key"] for item in secret_items()}
    assert keys == SECRETS.keys()
    assert keys <= in_tables("[a-z-]+")


def secret_items() -> list[dict[str, str]]:
    rendered = (manifests("development"), with_component("secret-key-fallbacks"))
    pods = [pod for each in rendered for pod in each.pods.values()]
    volumes = [volume for pod in pods for volume in pod["spec"]["volumes"] if "secret" in volume]
    return [item for volume in volumes for item in volume["secret"]["items"]]
