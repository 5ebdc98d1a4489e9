"""The scripts and styles as a browser gets them: small, and under names that may be cached for ever."""

import gzip
import re
from urllib.parse import urljoin
from urllib.request import Request

from tests.support.deployments import Deployment, opener

# Limits of JavaScript on the wire, in bytes. The visitor's page comes over bad networks.
MOST = 8_000
MOST_LIVE = 14_000
LATER = {"alerts", "tally"}  # modules that the live page loads on demand


def get(url: str) -> tuple[bytes, dict[str, str]]:
    request = Request(url, headers={"Accept-Encoding": "gzip"})  # noqa: S310  always http
    with opener().open(request, timeout=10) as answer:
        return answer.read(), dict(answer.headers)


def scripts_of(page: str, html: str) -> dict[str, bytes]:
    """Return every module that the page loads at its start, compressed, by its URL."""
    waiting = [urljoin(page, source) for source in re.findall(r'<script type="module" src="([^"]+)"', html)]
    found: dict[str, bytes] = {}
    while waiting:
        url = waiting.pop()
        if url in found:
            continue
        found[url], headers = get(url)
        assert headers["Content-Encoding"] == "gzip"
        assert "immutable" in headers["Cache-Control"]
        source = gzip.decompress(found[url]).decode()
        waiting += [urljoin(url, name) for name in re.findall(r'(?:from|import)\s*"(\.[^"]+)"', source)]
    return found


def name_of(url: str) -> str:
    return re.sub(r"^.*/|\.[0-9a-f]{12}\.js$", "", url)


def test_the_visitor_page_needs_little_javascript(kubernetes_deployment: Deployment) -> None:
    page = f"{kubernetes_deployment.servers[0].origin}/user/"
    scripts = scripts_of(page, get(page)[0].decode())
    assert sorted(map(name_of, scripts)) == ["connection", "link", "messages", "page", "user", "view"]
    assert sum(map(len, scripts.values())) <= MOST
    assert not any(b"/**" in gzip.decompress(script) for script in scripts.values())


def test_the_live_page_needs_little_javascript_and_loads_the_rest_when_it_is_asked_for(
    kubernetes_deployment: Deployment,
) -> None:
    page = f"{kubernetes_deployment.servers[0].origin}/admin/live/"
    operator = kubernetes_deployment.session("operator")
    operator.token()  # logs in
    scripts = scripts_of(page, operator.request("/admin/live/").decode())
    assert sum(map(len, scripts.values())) <= MOST_LIVE
    sources = {url: gzip.decompress(script).decode() for url, script in scripts.items()}
    later = {
        urljoin(url, name) for url, source in sources.items() for name in re.findall(r'import\("([^"]+)"\)', source)
    }
    assert {name_of(url) for url in later} == LATER
    assert all("immutable" in get(url)[1]["Cache-Control"] for url in later)
