"""Automatic retention on Kubernetes: the CronJob, and the work of its pod."""

import copy
from pathlib import Path

import pytest

from tests.support.deployments import KEPT, SAY_OLD_AND_NEW, manage
from tests.support.kustomize import ENVIRONMENTS, manifests
from tests.support.services import Postgres

NAME = "messaging-prune"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_it_runs_every_night_and_never_beside_itself(environment: str) -> None:
    cron = manifests(environment).one("CronJob", NAME)["spec"]
    job = cron["jobTemplate"]["spec"]
    assert {key: value for key, value in cron.items() if key != "jobTemplate"} == {
        "schedule": "17 3 * * *",
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3600,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 3,
    }
    assert {key: value for key, value in job.items() if key != "template"} == {
        "backoffLimit": 2,
        "activeDeadlineSeconds": 14400,
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_its_pod_is_the_migrations_with_another_command(environment: str) -> None:
    pods = manifests(environment).pods
    expected = copy.deepcopy(pods["messaging-migrate"]["spec"])
    assert expected["containers"][0]["args"] == ["python", "manage.py", "messaging_migrate"]
    expected["containers"][0]["args"] = ["python", "manage.py", "messaging_prune"]
    assert pods[NAME]["spec"] == expected


def test_what_is_old_is_gone_then(postgres: Postgres, tmp_path: Path) -> None:
    cluster = manifests("staging")
    environment = cluster.environment(NAME, tmp_path)  # without Redis, which no policy lets it reach
    (tmp_path / "database-url").write_text(postgres.create_database("prune"))
    manage(environment, "migrate", "--verbosity=0")
    manage(environment, "shell", "-c", SAY_OLD_AND_NEW)
    said = manage(environment, *cluster.container(NAME)["args"][2:])
    assert '"deleted": {"messages": 1, "conversations": 1}' in said
    assert manage(environment, "shell", "-c", KEPT).splitlines()[-1] == "new"
