"""Each URL answers HEAD like GET, and names its methods to a client that uses another one."""

import http.client
from collections.abc import Iterator

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from tests.support.deployments import Deployment, Pod
from tests.support.services import HOST

ADMIN = "admin"  # Django's own pages, which are many
OF_EACH_ANSWER = {"date", "x-request-id", "set-cookie"}
BUILT_IN = {"/admin/login/", "/admin/", "/nothing", "/static/admin/css/nothing.css"}


def urls(part: URLResolver, prefix: str = "/") -> Iterator[str]:
    """Yield the URLs of our own views."""
    for each in part.url_patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLPattern):
            yield path
        elif each.app_name != ADMIN:
            yield from urls(each, path)


OWN = sorted(urls(get_resolver()))


def ask(port: int, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    body = answer.read()
    connection.close()
    return answer.status, headers, body


def test_our_own_urls_are_known() -> None:
    assert {"/", "/user/", "/user/send/", "/admin/live/", "/admin/live/token/"} <= set(OWN)


@pytest.mark.parametrize("path", [*OWN, *sorted(BUILT_IN), "/health", "/ready"])
def test_head_is_answered_like_get_without_a_body(path: str, kubernetes_deployment: Deployment[Pod]) -> None:
    pod = kubernetes_deployment.servers[0]
    port = pod.health_port if path in ("/health", "/ready") else pod.port
    (status, expected, _), (found, headers, body) = ask(port, "GET", path), ask(port, "HEAD", path)
    assert (found, body) == (status, b"")
    for each in (expected, headers):
        each |= dict.fromkeys(OF_EACH_ANSWER & each.keys(), "differs")
    assert headers == expected


@pytest.mark.parametrize("path", [path for path in OWN if path != "/admin/live/"])  # the admin asks to log in first
def test_a_method_that_a_url_does_not_have_is_refused_with_those_that_it_has(
    path: str, kubernetes_deployment: Deployment[Pod]
) -> None:
    status, headers, _ = ask(kubernetes_deployment.servers[0].port, "TRACE", path)
    assert status == 405
    assert set(headers["allow"].split(", ")) <= {"GET", "HEAD", "POST", "OPTIONS"}
