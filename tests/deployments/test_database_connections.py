"""The number of connections to PostgreSQL that a server holds, however many requests it serves."""

from pathlib import Path

import psutil
import pytest

from tests.support.deployments import Kubernetes, Pod, fetch
from tests.support.known_faults import known_fault
from tests.support.redis_services import Redis
from tests.support.services import Postgres, started

pytestmark = pytest.mark.slow

VIEWS = 240
LOOK = 25  # page views between two looks at the connections
MOST = 6  # connections of a process, as docs/migration.md says


@known_fault("A1")
def test_a_server_holds_few_connections_however_many_pages_it_serves(tmp_path: Path) -> None:
    redis, postgres = Redis(), Postgres()  # its own server, so that no other test finds it full
    with started(redis, postgres), Kubernetes(postgres, tmp_path).deployed(redis.url) as deployment:
        for view in range(1, VIEWS + 1):
            pod = deployment.servers[view % 2]
            assert fetch(f"{pod.origin}/user/")[0] == 200
            if view % LOOK == 0:
                assert max(connections(pod, postgres) for pod in deployment.servers) <= MOST


def connections(pod: Pod, postgres: Postgres) -> int:
    ends = psutil.Process(pod.pid).net_connections("tcp")
    return sum(bool(end.raddr) and end.raddr.port == postgres.port for end in ends)
