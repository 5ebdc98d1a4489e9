"""Metrics: the events that are counted, the names of the metrics, and a number of series that no client can raise."""

import asyncio
import http.client
import math
import re
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from websockets.exceptions import InvalidStatus

from messaging.observability import metrics
from tests.support.connections import admin, connect, new_id, visitor
from tests.support.deployments import Deployment, Kubernetes, Pod, fetch
from tests.support.metrics import scrape, value
from tests.support.paths import ROOT
from tests.support.redis_services import Redis
from tests.support.services import HOST, started
from tests.support.waiting import eventually, wait_until

SERIES = 1_000  # per process
LIBRARY = re.compile(r"django_\w+?(?=(?:_bucket|_sum|_count)?$)")
DATABASE = ("default", "postgresql")


@pytest.fixture
def pods(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Deployment[Pod]]:
    with kubernetes.deployed(redis_server.url, MAX_CONNECTIONS="5", MESSAGING_VERSION="1.2.3") as deployment:
        yield deployment


async def test_a_message_is_counted_where_it_was_acked_and_where_it_was_handed_over(pods: Deployment[Pod]) -> None:
    here, there = pods.servers
    async with visitor(here.websocket_url) as page, admin(there.websocket_url, await pods.admin_token()) as operator:
        id, began = new_id(), time.time()
        await page.say("hello", id=id)
        await page.request("sendMessage", id=id, content="hello")
        assert (await operator.receive())["content"] == "hello"
        assert {name: value(here, name) for name in CONNECTION_STATE} == CONNECTION_STATE
        assert value(here, "messaging_websocket_connections", "user") == 1
        assert value(there, "messaging_websocket_connections", "admin") == 1
    assert value(here, "messaging_messages_total", "accepted", "user") == 1
    assert value(here, "messaging_messages_total", "duplicate", "user") == 1
    assert value(here, "messaging_message_ack_seconds_count") == 2
    assert value(here, "messaging_commit_messages_sum") == 2
    assert value(there, "messaging_messages_total", "accepted", "user") == 0
    assert value(there, "messaging_message_delivery_seconds_count") == 1
    assert 0 <= value(there, "messaging_message_delivery_seconds_sum") <= time.time() - began + 0.001
    for pod in pods.servers:
        assert value(pod, "messaging_build_info", "1.2.3") == 1


CONNECTION_STATE = {
    "messaging_websocket_connections_limit": 5,
    "messaging_outbound_queue_bytes": 0,
    "messaging_log_waiting_messages": 0,
    "messaging_database_up": 1,
    "messaging_layer_up": 1,
    "messaging_draining": 0,
}


async def test_connections_are_counted_by_how_they_begin_and_end(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    async with visitor(pod.websocket_url):
        pass
    async with connect(pod.websocket_url) as stranger:
        for _ in range(5):
            await stranger.send_raw("{")
        assert (await stranger.until_closed())[1] == 4400
    with pytest.raises(InvalidStatus):
        await connect(pod.websocket_url, origin="http://evil.example.org").__aenter__()
    await eventually(lambda: value(pod, "messaging_websocket_connects_total", "origin") == 1, "it is counted")
    counted = {
        ("messaging_websocket_connects_total", ("accepted",)): 2,
        ("messaging_websocket_disconnects_total", ("1000", "user")): 1,
        ("messaging_websocket_disconnects_total", ("4400", "unidentified")): 1,
        ("messaging_websocket_connection_duration_seconds_count", ()): 2,
        ("messaging_errors_total", ("bad_json",)): 5,
    }
    await eventually(lambda: counted.items() <= scrape(pod).items(), "they are counted")


async def test_a_client_that_comes_back_resumes_or_has_a_gap(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    async with visitor(pod.websocket_url) as page:
        acked = await page.say("hello")
        token = page.token
    for since in (acked["cursor"], "from another database"):
        async with connect(pod.websocket_url) as again:
            await again.request("identify", v=2, type="user", token=token, since=since)
    async with visitor(pod.websocket_url) as erased:
        acked = await erased.say("forget me")
        token = erased.token
        await erased.request("forget", id=new_id())
    async with connect(pod.websocket_url) as again:  # a new visitor, whose history can not have a gap
        await again.request("identify", v=2, type="user", token=token, since=acked["cursor"])
    assert (value(pod, "messaging_resume_total", "ok"), value(pod, "messaging_resume_total", "gap")) == (1, 1)


async def test_a_redis_that_is_down_is_seen(kubernetes: Kubernetes) -> None:
    redis = Redis()
    with started(redis), kubernetes.deployed(redis.url, pods=1) as deployment:
        (pod,) = deployment.servers
        assert value(pod, "messaging_layer_up") == 1
        await asyncio.to_thread(redis.kill)
        async with visitor(pod.websocket_url) as page:
            await page.say("hello")
            await eventually(lambda: value(pod, "messaging_layer_publish_errors_total") > 0, "it is counted")
            down = {("messaging_layer_up", ()): 0, ("messaging_store_up", ("connections",)): 0}
            await eventually(lambda: down.items() <= scrape(pod).items(), "it is seen")


async def test_whatever_clients_do_a_process_has_the_same_few_series(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    before = scrape(pod).keys()
    async with visitor(pod.websocket_url) as page:
        for action in ("nonsense", new_id(), "history"):
            await page.send(action, id=new_id(), content=new_id())
            await page.receive()
        await page.close(3999)
    async with connect(pod.websocket_url) as stranger:
        await stranger.request("identify", v=2, type=new_id(), token=new_id())
    await asyncio.to_thread(ask_oddly, pod)
    closed = ("messaging_websocket_disconnects_total", ("other", "user"))
    await eventually(lambda: scrape(pod)[closed] == 1, "an unknown code is counted")
    assert scrape(pod).keys() == before
    assert len(before) < SERIES


def ask_oddly(pod: Pod) -> None:
    """Send requests that no page sends: to known and unknown paths, with any method, and with any header."""
    odd = {"X-Requested-With": "XMLHttpRequest", "X-Forwarded-Proto": "gopher", "Content-Type": "text/x; charset=x-y"}
    for method in ("GET", "HEAD", "PUT", "OPTIONS", "TRACE", "BREW", f"M{new_id()[:8].upper()}"):
        for path in ("/user/", f"/{new_id()}", "/admin/", f"/admin/auth/user/{new_id()}/change/", "/user/send/", "//"):
            client = http.client.HTTPConnection(HOST, pod.port, timeout=10)
            client.request(method, path, headers=odd)
            client.getresponse().read()
            client.close()
    for length in ("1_0", "-5", "²"):
        client = http.client.HTTPConnection(HOST, pod.port, timeout=10)
        client.putrequest("GET", "/user/")
        client.putheader("Content-Length", length.encode("latin1"))
        client.endheaders()
        assert client.getresponse().status == 400
        client.close()


def test_a_page_is_counted_by_the_class_of_its_status(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    assert [fetch(pod.origin + path)[0] for path in ("/user/", "/nothing", "/nothing")] == [200, 404, 404]

    def counted() -> dict[str, float]:
        return {status: value(pod, "messaging_http_request_seconds_count", status) for status in metrics.STATUSES}

    # A request is counted a moment after the client has its answer.
    wait_until(lambda: counted() == {"1xx": 0, "2xx": 1, "3xx": 0, "4xx": 2, "5xx": 0}, "they are counted")


def test_a_scraper_gets_openmetrics_if_it_asks_for_it(pods: Deployment[Pod]) -> None:
    (pod, _) = pods.servers
    _, _, body = fetch(f"http://{HOST}:{pod.health_port}/metrics", Accept="application/openmetrics-text; version=1.0.0")
    text = body.decode()
    assert text.endswith("# EOF\n")
    for begin in ("messaging_build_info{", "django_db_execute_total{", "process_cpu_seconds_total "):
        assert sum(line.startswith(begin) for line in text.splitlines()) == 1
    assert "_created" not in text


def test_a_view_is_counted_by_its_name_and_the_class_of_its_status(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    for path in ("/user/", "/user/", f"/{new_id()}", "/admin/messaging/message/"):
        fetch(pod.origin + path)
    counted = {
        labels: count
        for (name, labels), count in scrape(pod).items()
        if name == "django_http_responses_total_by_status_view_method_total" and count
    }
    assert counted == {  # the last request was led to the login page
        ("GET", "2xx", "userpage:page"): 2,
        ("GET", "4xx", "other"): 1,
        ("GET", "3xx", "admin"): 1,
        ("GET", "2xx", "admin"): 1,
    }
    seconds = "django_http_requests_latency_seconds_by_view_method_count"
    assert value(pod, seconds, "GET", "userpage:page") == 2


async def test_connections_are_counted_when_they_are_opened_and_statements_when_pages_send_them(
    pods: Deployment[Pod],
) -> None:
    pod = pods.servers[0]
    operator = pods.session("operator")
    await asyncio.to_thread(operator.token)  # logs in
    for _ in range(20):
        await asyncio.to_thread(operator.request, "/admin/live/")
    samples = scrape(pod)
    statements = samples["django_db_execute_total", DATABASE]
    assert statements >= 20
    assert samples["django_db_query_duration_seconds_count", DATABASE] == statements
    # A connection lives for 10 seconds. Twenty requests take less, also on a busy machine, than one each.
    assert 1 <= samples["django_db_new_connections_total", DATABASE] < 10
    async with visitor(pod.websocket_url) as page:
        await page.say("hello")
    assert value(pod, "django_db_execute_total", *DATABASE) == statements  # the journal's are not counted


def test_the_database_says_which_migrations_and_how_many_connections_it_has(pods: Deployment[Pod]) -> None:
    pod = pods.servers[0]
    with psycopg.connect(pods.database, autocommit=True) as watcher:
        (limit,) = watcher.execute("SELECT current_setting('max_connections')::int - 3").fetchone() or ()
        (migrations,) = watcher.execute("SELECT count(*) FROM django_migrations").fetchone() or ()
        before = database(pod)
        watcher.execute("DELETE FROM django_migrations WHERE id = (SELECT max(id) FROM django_migrations)")
        after = database(pod)
        connections = [one.pop("messaging_database_connections") for one in (before, after)]
    expected = {
        "messaging_database_connections_limit": limit,
        "django_migrations_applied_total": migrations,
        "django_migrations_unapplied_total": 0,
    }
    assert before == expected
    assert after == expected | {
        "django_migrations_applied_total": migrations - 1,
        "django_migrations_unapplied_total": 1,
    }
    assert all(1 < one < limit for one in connections)


def database(pod: Pod) -> dict[str, float]:
    """Return what a pod has just learnt from its database."""
    names = ("messaging_database_connections", "messaging_database_connections_limit", "django_migrations_")
    return {name: value for (name, _), value in scrape(pod).items() if name.startswith(names)}


def test_a_database_that_takes_no_connection_is_seen_and_the_rest_is_not_known(pods: Deployment[Pod]) -> None:
    pod, name = pods.servers[0], str(psycopg.conninfo.conninfo_to_dict(pods.database)["dbname"])
    assert not any(math.isnan(one) for one in database(pod).values())
    with psycopg.connect(pods.database, dbname="postgres", autocommit=True) as watcher:
        watcher.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(Identifier(name)))
        try:
            watcher.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            fetch(f"{pod.origin}/user/")
            wait_until(lambda: value(pod, "django_db_new_connection_errors_total", *DATABASE) > 0, "it is counted")
            assert value(pod, "messaging_database_up") == 0
            assert all(math.isnan(one) for one in database(pod).values())
        finally:
            watcher.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(Identifier(name)))
    wait_until(lambda: value(pod, "messaging_database_up") == 1, "it answers again")


def test_every_metric_of_django_prometheus_is_documented_and_no_other(pods: Deployment[Pod]) -> None:
    exposed = {found[0] for name, _ in scrape(pods.servers[0]) if (found := LIBRARY.match(name))}
    page = (ROOT / "docs" / "observability.md").read_text()
    documented = set(re.findall(r"^\| `(django_\w+)` \|", page, re.MULTILINE))
    assert documented - {"django_db_errors_total"} == exposed  # that one begins with the first error
