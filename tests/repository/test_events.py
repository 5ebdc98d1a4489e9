"""docs/events.md: its commands, names, sentences and sizes are those of the product and of its manifests.

Tested elsewhere: links and metrics of all pages in test_docs.py, commands of make and Django in test_commands.py.
"""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import yaml

from bench.demo import arguments
from bench.rehearsal import report
from messaging.observability.metrics import METRICS
from messaging.service.refusals import TURNED_AWAY
from tests.support.hall import Hall, Visit
from tests.support.kustomize import manifests
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "events.md").read_text()
KUBERNETES = PAGE.partition("### Kubernetes")[2].partition("\n### ")[0]
KINDS = {"hpa": "HorizontalPodAutoscaler", "deployment": "Deployment"}


def blocks(language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [text for its_language, text in found if its_language == language]


def commands(program: str) -> Iterator[list[str]]:
    """Yield the arguments of each command of `program`, in blocks and in backticks."""
    lines = [line for block in blocks() for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", PAGE)]:
        if line.startswith(f"{program} "):
            yield shlex.split(line.removeprefix(f"{program} "))


def test_every_rehearsal_is_one_that_the_program_takes() -> None:
    taken = [arguments().parse_args(command) for command in commands(".venv/bin/python -m bench.demo")]
    assert len(taken) >= 2
    assert any(options.hall and options.staff for options in taken)


def test_every_object_that_is_changed_is_there_in_production() -> None:
    production = manifests("production")
    named = [argument for command in commands("kubectl --namespace messaging-production") for argument in command]
    objects = re.findall(r"(hpa|deployment)[ /]([a-z-]+)", " ".join(named))
    assert len(objects) >= 6
    for kind, name in objects:
        production.one(KINDS[kind], name)


def test_no_autoscaler_is_asked_for_more_pods_than_it_may_start() -> None:
    most = {hpa["metadata"]["name"]: hpa["spec"]["maxReplicas"] for hpa in all_autoscalers()}
    patches = [command for command in commands("kubectl --namespace messaging-production") if command[0] == "patch"]
    assert len(patches) >= 4
    for _, _, name, _, patch in patches:
        assert json.loads(patch)["spec"]["minReplicas"] <= most[name]


def test_the_sizes_for_a_hall_of_a_thousand_are_those_of_the_manifests() -> None:
    replicas = {hpa["spec"]["scaleTargetRef"]["name"]: hpa["spec"]["minReplicas"] for hpa in all_autoscalers()}
    rows = re.findall(r"^\| `([a-z-]+)`[^|]*\|[^|]*\| (\d+) pods \|", KUBERNETES, re.MULTILINE)
    assert {name: int(pods) for name, pods in rows} == replicas


def all_autoscalers() -> list[dict[str, Any]]:
    return manifests("production").all("HorizontalPodAutoscaler")


def test_the_file_for_compose_changes_services_and_variables_that_there_are() -> None:
    (override,) = (yaml.safe_load(block) for block in blocks("yaml"))
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    documented = re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    assert override["services"].keys() == {"proxy", "server-1", "server-2"} <= services.keys()
    for name in ("server-1", "server-2"):
        assert override["services"][name]["environment"].keys() <= set(documented)
    assert f"{connections()}, as it is" in PAGE


def connections() -> str:
    found = re.search(r"worker_connections (\d+);", (ROOT / "compose/nginx.conf").read_text())
    assert found
    return f"{int(found[1]):,}"


def test_every_metric_that_is_watched_is_there() -> None:
    watched = re.findall(r"^\| `(messaging_\w+)` \|", PAGE, re.MULTILINE)
    assert len(watched) >= 5
    assert set(watched) - {metric.name for metric in METRICS} == set()


def test_every_sentence_that_people_read_is_one_of_the_pages() -> None:
    texts = (ROOT / "locale/de/LC_MESSAGES/django.po").read_text() + str(TURNED_AWAY)
    read = re.findall(r"^\| \"([^\"]+)\" \|", PAGE, re.MULTILINE)
    assert len(read) >= 4
    assert [sentence for sentence in read if re.sub(r"\d+", "{seconds}", sentence) not in texts] == []


def test_what_a_rehearsal_prints_is_shown_as_it_is() -> None:
    hall = Hall(
        [Visit(1.0, 1.0, 1.0), Visit(failure="timeout"), Visit(1.0, failure="rate_limited")], [Visit(login=1.0)]
    )
    labels = {line.partition(":")[0] for line in report(hall)}
    (shown,) = (block for block in blocks() if block.startswith("1000 visitors"))
    assert {line.partition(":")[0] for line in shown.splitlines()[1:]} < labels
    assert "failed: 1 with rate_limited" in report(hall)
