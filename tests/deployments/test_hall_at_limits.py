"""A hall at the limits of the manifests: all on one address, behind nginx, each process in a control group."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.deployments import PASSWORD, Kubernetes
from tests.support.hall import Accounts, Hall, come
from tests.support.limited_pods import LimitedSite, limited_site
from tests.support.redis_services import Redis

# Control groups need root on Linux, as containers do.
pytestmark = [pytest.mark.image, pytest.mark.timeout(300)]

PEOPLE = 150
SECONDS = 5
STAFF = Accounts(("operator", "colleague", "manager", "reader", "operator"), PASSWORD)


@pytest.fixture
def site(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[LimitedSite]:
    with limited_site(kubernetes, redis_server.url) as site:
        yield site


def states(hall: Hall) -> dict[str, object]:
    return {
        "page errors": dict(hall.page_errors),
        "refused": dict(hall.refusals),
        "acked": hall.acked,
        "staff signed in": hall.signed_in,
    }


def test_a_hall_gets_its_pages_and_every_tap_is_stored_while_staff_sign_in(site: LimitedSite) -> None:
    hall = asyncio.run(come(site.origin, PEOPLE, SECONDS, STAFF))
    assert states(hall) == {"page errors": {}, "refused": {}, "acked": PEOPLE, "staff signed in": len(STAFF.names)}
    with psycopg.connect(site.database) as database:
        stored = database.execute("SELECT count(DISTINCT conversation_id), count(*) FROM messaging_message").fetchone()
    assert stored == (PEOPLE, PEOPLE)
