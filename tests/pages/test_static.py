"""The scripts and styles as a browser gets them: one of each for a page, small, under names that never change."""

import gzip
import re
from collections.abc import Mapping
from urllib.error import HTTPError
from urllib.request import Request

import pytest
from playwright.sync_api import Browser

from tests.support.deployments import Deployment, Pod, opener

# Limits of JavaScript on the wire, in bytes. The visitor's page comes over bad networks.
MOST = 12_000
MOST_LIVE = 14_000
ENCODINGS = ("br", "gzip", "identity")
OWN = re.compile(r'(?:src|href)="(/static/messaging/(\w+)\.[0-9a-f]{12}\.(\w+))"')


def ask(pod: Pod, path: str, method: str = "GET", headers: Mapping[str, str] = {}) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the headers and the body of the answer."""
    request = Request(pod.origin + path, headers=dict(headers), method=method)  # noqa: S310  always http
    try:
        with opener().open(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as refusal:
        return refusal.code, dict(refusal.headers), refusal.read()


def files_of(page: str) -> dict[str, str]:
    """Return the paths of our files that a page names, by their names without the hash."""
    return {f"{name}.{kind}": path for path, name, kind in OWN.findall(page)}


@pytest.fixture
def pod(kubernetes_deployment: Deployment[Pod]) -> Pod:
    return kubernetes_deployment.servers[0]


@pytest.fixture
def visitors_files(pod: Pod) -> dict[str, str]:
    return files_of(ask(pod, "/user/")[2].decode())


def test_the_visitor_page_has_one_script_and_one_style_sheet_and_both_are_small(
    pod: Pod, visitors_files: dict[str, str]
) -> None:
    assert sorted(visitors_files) == ["icon.svg", "user.css", "user.js"]
    script = ask(pod, visitors_files["user.js"], headers={"Accept-Encoding": "gzip"})[2]
    assert len(script) <= MOST
    source = gzip.decompress(script).decode()
    assert not re.search(r"/\*\*|\bimport\b", source)


@pytest.mark.parametrize(("view", "name"), [("", "live"), ("?view=stage", "stage")])
def test_the_pages_of_staff_have_one_script_and_one_style_sheet_of_ours(
    view: str, name: str, kubernetes_deployment: Deployment[Pod], pod: Pod
) -> None:
    operator = kubernetes_deployment.session("operator")
    operator.token()  # logs in
    files = files_of(operator.request(f"/admin/live/{view}").decode())
    assert sorted(files) == ["icon.svg", f"{name}.css", f"{name}.js"]
    script = ask(pod, files[f"{name}.js"], headers={"Accept-Encoding": "gzip"})[2]
    assert len(script) <= MOST_LIVE
    assert "import(" not in gzip.decompress(script).decode()


def test_the_modules_that_a_bundle_has_taken_in_are_not_served_as_well(pod: Pod) -> None:
    assert ask(pod, "/static/messaging/link.js")[0] == 404
    assert ask(pod, "/static/messaging/user.js")[0] == 404  # only under its hashed name


@pytest.mark.browser
def test_a_first_visit_in_a_browser_makes_four_requests(pod: Pod, browser: Browser) -> None:
    with browser.new_context() as profile:
        page = profile.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.removeprefix(pod.origin)))
        page.goto(f"{pod.origin}/user/", wait_until="networkidle")
        # Playwright reports the request for the icon in some of Chromium's modes, twice or not at all.
        files = files_of(page.content())
    assert {*asked, files["icon.svg"]} == {"/user/", *files.values()}
    assert len(files) == 3


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_file_comes_in_the_best_encoding_that_the_browser_knows(
    encoding: str, pod: Pod, visitors_files: dict[str, str]
) -> None:
    known = ", ".join(ENCODINGS[ENCODINGS.index(encoding) :])
    status, headers, body = ask(pod, visitors_files["user.js"], headers={"Accept-Encoding": known})
    assert status == 200
    assert headers.get("Content-Encoding", "identity") == encoding
    assert headers["Content-Length"] == str(len(body))
    assert headers["Vary"] == "Accept-Encoding"
    assert headers["Cache-Control"] == "max-age=315360000, public, immutable"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "x-request-id" not in map(str.lower, headers)  # no middleware has seen it


def test_a_browser_that_has_a_file_is_told_so(pod: Pod, visitors_files: dict[str, str]) -> None:
    path = visitors_files["user.css"]
    fresh = ask(pod, path)[1]
    for header, value in [("If-None-Match", fresh["ETag"]), ("If-Modified-Since", fresh["Last-Modified"])]:
        status, headers, body = ask(pod, path, headers={header: value})
        assert (status, body, headers["ETag"]) == (304, b"", fresh["ETag"])


def test_a_part_of_a_file_can_be_had(pod: Pod, visitors_files: dict[str, str]) -> None:
    path = visitors_files["user.js"]
    whole = ask(pod, path)[2]
    status, headers, body = ask(pod, path, headers={"Range": "bytes=10-19"})
    assert (status, headers["Content-Range"], body) == (206, f"bytes 10-19/{len(whole)}", whole[10:20])


def test_a_file_can_only_be_read(pod: Pod, visitors_files: dict[str, str]) -> None:
    status, headers, _ = ask(pod, visitors_files["user.js"], "POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


STYLES = """() => [...document.body.querySelectorAll("*")].map((element) => {
    const styles = getComputedStyle(element);
    // Variables count where they are used, and a position where there is something in it.
    const unused = styles.backgroundImage === "none" ? /^--|^background-position/ : /^--/;
    const names = [...styles].filter((name) => !unused.test(name));
    const own = Object.fromEntries(names.map((name) => [name, styles.getPropertyValue(name)]));
    return [`${element.tagName} ${element.id} ${element.className}`, own];
})"""


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/user/", "/admin/live/#tally", "/admin/live/?view=stage"])
def test_a_page_looks_the_same_with_bundles_and_with_the_files_they_were_made_of(
    path: str, local_deployment: Deployment, kubernetes_deployment: Deployment, browser: Browser
) -> None:
    made, bundled = (styles(deployment, path, browser) for deployment in (local_deployment, kubernetes_deployment))
    assert len(made) == len(bundled) > 20
    differences = [
        (name, style, value, others[style])
        for (name, own), (_, others) in zip(made, bundled, strict=True)
        for style, value in own.items()
        if others[style] != value
    ]
    assert differences == []


def styles(deployment: Deployment, path: str, browser: Browser) -> list[tuple[str, dict[str, str]]]:
    """Return each element of a page, with its styles.

    Its WebSocket and its tally get no answer, so it shows nothing of what other tests have written.
    """
    operator = deployment.session("operator")
    operator.token()  # logs in
    origin = deployment.servers[0].origin
    with browser.new_context(reduced_motion="reduce") as profile:
        profile.add_cookies([{"name": name, "value": value, "url": origin} for name, value in operator.cookies.items()])
        page = profile.new_page()
        page.route_web_socket("**/ws*", lambda _: None)
        page.route("**/live/tally/", lambda route: route.abort())
        page.goto(origin + path, wait_until="networkidle")
        found: list[tuple[str, dict[str, str]]] = page.evaluate(STYLES)
    return found
