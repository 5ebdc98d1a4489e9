"""Client addresses on real servers: behind every proxy that can run here, and of strangers who reach the port."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from messaging.transports.channels.crowd import CAUSES
from messaging_site.page_requests import RETRY_SECONDS
from tests.support.deployments import Kubernetes, Pod, manage
from tests.support.metrics import value
from tests.support.proxies import Browser, Caddy, ComposeNginx, HAProxy, HAProxyBeforeNginx, Nginx, Proxy, SitePod
from tests.support.redis_services import Redis
from tests.support.services import HOST, started
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")

PROXIES: list[Callable[[int], Proxy]] = [Nginx, Caddy, HAProxy, HAProxyBeforeNginx]
HERE, THERE, STRANGER, PROXY = "127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.1"
SETTINGS = {"TRUSTED_PROXIES": PROXY, "TRUSTED_PROXY_COUNT": "1"}  # as docs/proxies.md has them
HSTS, SECURE = "max-age=31536000", "Secure"


@pytest.fixture(scope="module")
def site(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[Pod]:
    with kubernetes.deployed(redis_server.url, SETTINGS, pods=1, make=SitePod) as deployment:
        yield deployment.servers[0]


@pytest.fixture(params=PROXIES, ids=lambda proxy: proxy.__name__)
def proxy(request: pytest.FixtureRequest, site: Pod) -> Iterator[Proxy]:
    proxy: Proxy = request.param(site.port)
    with started(proxy):
        yield proxy


@pytest.fixture(params=PROXIES, ids=lambda proxy: proxy.__name__)
def outer_proxy(request: pytest.FixtureRequest, site: Pod) -> Iterator[Proxy]:
    """Yield a proxy in front of the nginx of compose.yaml, which is in front of a server."""
    inner = ComposeNginx(site.port, outer_proxies=f"10.97.31.0/24,{PROXY}")
    proxy: Proxy = request.param(inner.port)
    with started(inner, proxy):
        yield proxy


def addresses(pod: Pod) -> tuple[float, float]:
    """Return the number of addresses with open connections, and the most connections of one address."""
    return value(pod, "messaging_websocket_addresses"), value(pod, "messaging_websocket_address_connections_max")


async def known(pod: Pod, expected: tuple[int, int]) -> None:
    """Return when the numbers of `addresses` are as expected: connections of an earlier test may still be ending."""
    await eventually(lambda: asyncio.to_thread(addresses, pod), "as expected", until=lambda found: found == expected)


async def behind(proxy: Proxy, site: Pod) -> None:
    """Assert that clients behind `proxy` have addresses of their own, and know that they came by https."""
    here, there = Browser(HERE, proxy), Browser(THERE, proxy)
    async with here.connected(), there.connected(), here.connected({"X-Forwarded-For": THERE}):
        await known(site, (2, 2))
    status, headers = await asyncio.to_thread(here.request, "/admin/login/")
    assert (status, headers["Strict-Transport-Security"], SECURE in headers["Set-Cookie"]) == (200, HSTS, True)


async def test_clients_behind_a_documented_proxy_have_addresses_of_their_own(proxy: Proxy, site: Pod) -> None:
    await behind(proxy, site)


async def test_clients_behind_a_proxy_in_front_of_compose_have_addresses_of_their_own(
    outer_proxy: Proxy, site: Pod
) -> None:
    await behind(outer_proxy, site)


@pytest.mark.parametrize("outer", ["", PROXY])
async def test_composes_nginx_passes_on_nothing_of_a_client(outer: str, site: Pod) -> None:
    forged = {"X-Forwarded-For": THERE, "X-Forwarded-Proto": "https"}
    with started(nginx := ComposeNginx(site.port, outer)):
        here, there = Browser(HERE, nginx), Browser(THERE, nginx)
        async with there.connected(), here.connected(forged):
            await known(site, (2, 1))
        _, headers = await asyncio.to_thread(here.request, "/admin/login/", headers=forged)
    assert "Strict-Transport-Security" not in headers


@pytest.mark.parametrize("make", PROXIES, ids=lambda proxy: proxy.__name__)
def test_a_busy_page_is_passed_on_and_the_server_behind_it_is_still_used(make: Callable[[int], Proxy]) -> None:
    """A proxy that took the page for a failure would ask the next server as well, and then answer for all with 502."""
    with busy_server() as (port, requested):
        inner = ComposeNginx(port, outer_proxies=PROXY)
        with started(inner, proxy := make(inner.port)):
            browser = Browser(HERE, proxy)
            answers = [browser.request(path) for path in ("/busy/", "/busy/", "/")]
    busy = (503, str(RETRY_SECONDS))
    assert [(status, headers["Retry-After"]) for status, headers in answers] == [busy, busy, (200, None)]
    assert requested == ["/busy/", "/busy/", "/"]


@contextlib.contextmanager
def busy_server() -> Iterator[tuple[int, list[str]]]:
    """Answer as a server does that is too busy for the page `/busy/`. Yield its port, and the paths of all requests."""
    requested = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            busy = self.path == "/busy/"
            self.send_response(503 if busy else 200)
            if busy:
                self.send_header("Retry-After", str(RETRY_SECONDS))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer((HOST, 0), Answer) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port, requested
        finally:
            server.shutdown()
            serving.join()


def test_a_stranger_who_forges_headers_can_not_guess_passwords_without_limit(site: Pod) -> None:
    """Nor can a stranger use up the tries of somebody else, and nothing tells that it came by https."""
    stranger = Browser(STRANGER, site)
    codes = [stranger.log_in("operator", "a guess", {"X-Forwarded-For": f"192.0.2.{number}"}) for number in range(1, 7)]
    assert codes == [200] * 4 + [429] * 2
    with started(proxy := Nginx(site.port)):
        assert Browser(HERE, proxy).log_in("operator") == 302
        victim = Browser(THERE, proxy)
        for _ in range(6):
            stranger.log_in("colleague", "a guess", {"X-Forwarded-For": THERE})
        assert victim.log_in("colleague") == 302
    _, headers = stranger.request("/admin/login/", headers={"X-Forwarded-Proto": "https"})
    assert "Strict-Transport-Security" not in headers


async def test_a_stranger_who_forges_headers_has_one_address(site: Pod) -> None:
    stranger = Browser(STRANGER, site)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(1, 4):
            await stack.enter_async_context(stranger.connected({"X-Forwarded-For": f"192.0.2.{number}"}))
        await known(site, (1, 3))


async def test_hundreds_of_connections_behind_a_proxy_that_is_not_counted_are_a_warning(
    kubernetes: Kubernetes, redis_server: Redis
) -> None:
    """In the log, and for an operator who asks."""
    likely = f"200 of 200 connections come from one client address; {CAUSES['doubted']}."
    with kubernetes.deployed(redis_server.url, {"TRUSTED_PROXIES": "192.0.2.0/24"}, pods=1, make=SitePod) as deployment:
        (pod,) = deployment.servers
        async with contextlib.AsyncExitStack() as stack:
            for number in range(200):
                browser = Browser(PROXY, pod)
                await stack.enter_async_context(browser.connected({"X-Forwarded-For": f"203.0.113.{number}"}))
            said = await asyncio.to_thread(manage, pod.environment, "messaging_check", "--online")
            await eventually(lambda: warnings(pod), "it is logged", until=lambda lines: lines == [likely])
        assert json.loads(said)["clients"] == {
            "connections": 200, "addresses": 1, "most": 200, "private": True, "doubted": 200, "warning": likely,
        }  # fmt: skip


def warnings(pod: Pod) -> list[str]:
    """Return the messages of the warnings about addresses in the log of `pod`."""
    lines = [json.loads(line) for line in pod.log.splitlines()]
    return [line["message"] for line in lines if line["logger"] == "messaging.transports.channels.crowd"]


async def test_ipv4_clients_of_a_server_for_both_families_have_addresses_of_their_own(
    kubernetes: Kubernetes, redis_server: Redis
) -> None:
    with kubernetes.deployed(redis_server.url, pods=1, make=PodForBothFamilies) as deployment:
        (pod,) = deployment.servers
        async with Browser(HERE, pod).connected(), Browser(THERE, pod).connected():
            await known(pod, (2, 1))


class PodForBothFamilies(SitePod):
    def __init__(self, **environment: str) -> None:
        super().__init__(**environment)
        self.environment["MESSAGING_HOST"] = "::"
