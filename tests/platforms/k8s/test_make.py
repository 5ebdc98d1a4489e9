"""`make k8s-…`, with a kubectl that records its commands: the order of a rollout, and the end of a failed one."""

import os
from pathlib import Path

import pytest

from tests.support.deployments import ended
from tests.support.kustomize import tool

OURS = "--selector=app.kubernetes.io/part-of=user-admin-messaging"
REVISIONS = "admin-frontend=4 user-frontend=4 websocket-service=7 "
# It prints REVISIONS if asked for Deployments, and fails if its command contains FAIL.
KUBECTL = """#!/bin/sh
echo "kubectl $*" >> "$CALLS"
case "$*" in *"get deployments"*) printf '%s' "$REVISIONS" ;; esac
case "$*" in *"$FAIL"*) exit 1 ;; esac
"""


class Make:
    """`make` in front of a cluster that only records its calls."""

    def __init__(self, directory: Path) -> None:
        tool("kubectl")  # otherwise make would install it now
        self._calls = directory / "calls"
        self._kubectl = directory / "kubectl"
        self._kubectl.write_text(KUBECTL)
        self._kubectl.chmod(0o755)
        self._smoke = directory / "smoke"
        self.output = ""

    def __call__(self, *arguments: str, fail: str = "nothing", revisions: str = REVISIONS) -> int:
        """Run `make`; return its exit code. `fail` names the step that fails: part of a kubectl command, or `smoke`."""
        inherited = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
        environment = inherited | {"CALLS": str(self._calls), "FAIL": fail, "REVISIONS": revisions}
        smoke = f"SMOKE=echo smoke >> {self._calls}; test $$FAIL != smoke"
        result = ended(["make", f"KUBECTL={self._kubectl}", smoke, *arguments], environment)
        self.output = result.stdout
        return result.returncode

    @property
    def calls(self) -> list[str]:
        """The recorded calls, without namespace, selector, time-out and output."""
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        for part in ("kubectl --namespace messaging-staging ", f" {OURS}", " --timeout=300s"):
            lines = [line.replace(part, "") for line in lines]
        return [line.partition(" --output")[0] for line in lines]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return Make(tmp_path)


ROLLOUT = [
    "get deployments",
    "delete job messaging-migrate --ignore-not-found",
    "kubectl apply --kustomize k8s/overlays/staging",
    "wait job messaging-migrate --for=condition=complete",
    "rollout status deployment",
    "smoke",
]
UNDO = [
    "rollout undo deployment admin-frontend --to-revision=4",
    "rollout undo deployment user-frontend --to-revision=4",
    "rollout undo deployment websocket-service --to-revision=7",
]


def test_a_rollout_migrates_waits_and_is_tested(make: Make) -> None:
    assert make("k8s-deploy", "ENV=staging") == 0, make.output
    assert make.calls == ROLLOUT


@pytest.mark.parametrize(("fail", "steps"), [("apply", 3), ("wait job", 4), ("rollout status", 5), ("smoke", 6)])
def test_a_failed_rollout_is_undone(fail: str, steps: int, make: Make) -> None:
    assert make("k8s-deploy", "ENV=staging", fail=fail) != 0
    assert make.calls == ROLLOUT[:steps] + UNDO
    assert "The rollout failed. Restored: admin-frontend=4 user-frontend=4 websocket-service=7" in make.output


def test_a_first_rollout_that_fails_has_nothing_to_go_back_to(make: Make) -> None:
    assert make("k8s-deploy", "ENV=staging", fail="smoke", revisions="") != 0
    assert make.calls == ROLLOUT
    assert "Restored: nothing, because there was no earlier rollout" in make.output


def test_nothing_is_touched_where_the_cluster_does_not_answer(make: Make) -> None:
    assert make("k8s-deploy", "ENV=staging", fail="get deployments") != 0
    assert make.calls == ROLLOUT[:1]


def test_nothing_is_touched_without_an_account_to_test_with(make: Make) -> None:
    assert make("k8s-deploy", "ENV=staging", "SMOKE_USERNAME=", "--eval=override undefine SMOKE") != 0
    assert make.calls == []
    assert "Set SMOKE_USERNAME and SMOKE_PASSWORD" in make.output


def test_a_rollback_goes_one_revision_back(make: Make) -> None:
    assert make("k8s-rollback", "ENV=staging") == 0, make.output
    assert make.calls == ["rollout undo deployment", "rollout status deployment"]


def test_an_environment_is_removed_only_by_its_name(make: Make) -> None:
    assert make("k8s-destroy", "ENV=staging", "CONFIRM=production") != 0
    assert make.calls == []
    assert make("k8s-destroy", "ENV=staging", "CONFIRM=staging") == 0, make.output
    assert make.calls == ["kubectl delete --kustomize k8s/overlays/staging --ignore-not-found"]
