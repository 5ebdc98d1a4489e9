"""The scripts and styles as a browser gets them: small, under names that may be kept for ever."""

import gzip
import re
from urllib.parse import urljoin
from urllib.request import Request

from messaging.tests.deployments import Deployment, opener

# Bytes of JavaScript on the wire. The visitor's page comes over bad networks.
MOST = 9_000


def get(url: str) -> tuple[bytes, dict[str, str]]:
    request = Request(url, headers={"Accept-Encoding": "gzip"})  # noqa: S310  always http
    with opener().open(request, timeout=10) as answer:
        return answer.read(), dict(answer.headers)


def scripts_of(page: str) -> dict[str, bytes]:
    """Every module that the page loads, compressed, by its URL."""
    html = get(page)[0].decode()
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


def test_the_visitor_page_needs_little_javascript(kubernetes_deployment: Deployment) -> None:
    scripts = scripts_of(f"{kubernetes_deployment.servers[0].origin}/user/")
    names = sorted(re.sub(r"^.*/|\.[0-9a-f]{12}\.js$", "", url) for url in scripts)
    assert names == ["connection", "link", "outbox", "page", "thread", "user", "view"]
    assert sum(map(len, scripts.values())) <= MOST
    assert not any(b"/**" in gzip.decompress(script) for script in scripts.values())
