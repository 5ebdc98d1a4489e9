"""Pages whose scripts and styles come from another host, such as CloudFront."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.aws_template import load
from tests.support.browser import People, serving
from tests.support.paths import ROOT

HEADERS = load()["Resources"]["StaticHeaders"]["Properties"]["ResponseHeadersPolicyConfig"]


class FilesHandler(SimpleHTTPRequestHandler):
    """A server of files with the headers that CloudFront adds to each answer."""

    def end_headers(self) -> None:
        (origin,) = HEADERS["CorsConfig"]["AccessControlAllowOrigins"]["Items"]
        self.send_header("Access-Control-Allow-Origin", origin)
        self.send_header("X-Content-Type-Options", "nosniff")
        for header in HEADERS["CustomHeadersConfig"]["Items"]:
            self.send_header(header["Header"], header["Value"])
        super().end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def static_url() -> Iterator[str]:
    """Serve static/ on another origin. Yield its URL there."""
    handler = partial(FilesHandler, directory=str(ROOT))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="files")
        thread.start()
        yield f"http://localhost:{server.server_port}/static/"
        server.shutdown()
        thread.join()


def test_a_page_runs_with_its_scripts_and_styles_from_another_host(
    static_url: str, people: People, prepared_database: Path
) -> None:
    with serving(prepared_database, STATIC_URL=static_url) as deployment:
        visitor = people.visitor(deployment.servers[0].origin)  # fails if the security policy refuses anything
        loaded = visitor.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
        assert {name.rpartition(".")[2] for name in loaded if name.startswith(static_url)} >= {"js", "css"}
        assert [name for name in loaded if "/static/" in name and not name.startswith(static_url)] == []
        visitor.get_by_role("button", name="Please speak German").click()
        expect(visitor.get_by_role("log").get_by_text("Sent")).to_be_visible()
