"""A rollout that waits at /ready for its migrations, and two versions side by side."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployments import Pod, manage, probe
from tests.support.kustomize import manifests
from tests.support.redis_services import Redis
from tests.support.services import Postgres, started
from tests.support.waiting import wait_until


class NewPod(Pod):
    """A pod of a version whose migrations may be missing: it counts as started when it is alive."""

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return probe(self, "/health")[0] == 200
        return False


@pytest.fixture
def pod(postgres: Postgres, redis_server: Redis, request: pytest.FixtureRequest) -> Iterator[NewPod]:
    database = postgres.create_database(request.node.name[:60])
    pod = NewPod(SERVICE_ROLE="websocket", DATABASE_URL=database, REDIS_URL=redis_server.url)  # needs no static files
    with started(pod):
        yield pod


def readiness(pod: Pod) -> tuple[int, object]:
    status, parts = probe(pod, "/ready")
    return status, parts["database"]


def test_a_pod_is_ready_once_the_job_has_migrated(pod: NewPod, tmp_path: Path) -> None:
    assert readiness(pod) == (503, "not migrated")
    manage(pod.environment, "migrate", "--verbosity=0", "contenttypes")
    assert readiness(pod) == (503, "not migrated")
    job = manifests("staging")
    environment = job.environment("messaging-migrate", tmp_path)  # without Redis, which no policy lets it reach
    (tmp_path / "database-url").write_text(pod.environment["DATABASE_URL"])
    assert job.container("messaging-migrate")["args"][:2] == ["python", "manage.py"]
    manage(environment, *job.container("messaging-migrate")["args"][2:])
    wait_until(lambda: readiness(pod) == (200, "ok"), "the pod is ready")


def test_one_missing_migration_is_enough_to_wait(pod: NewPod, postgres: Postgres) -> None:
    manage(pod.environment, "migrate", "--verbosity=0")
    database = pod.environment["DATABASE_URL"].rpartition("/")[2]
    postgres.execute("DELETE FROM django_migrations WHERE app = 'messaging' AND name LIKE '0004%'", database)
    assert readiness(pod) == (503, "not migrated")


def test_migrations_of_a_newer_version_leave_a_pod_ready(pod: NewPod, postgres: Postgres) -> None:
    manage(pod.environment, "migrate", "--verbosity=0")
    database = pod.environment["DATABASE_URL"].rpartition("/")[2]
    postgres.execute(
        "INSERT INTO django_migrations (app, name, applied) VALUES ('messaging', '9999_newer', now())", database
    )
    assert readiness(pod) == (200, "ok")
