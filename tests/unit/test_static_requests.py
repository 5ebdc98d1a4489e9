"""Requests for static files are answered before those for pages."""

from typing import Any

import pytest

from messaging_site.static_requests import served


async def ask(path: str, method: str = "GET", query: str = "", **headers: str) -> list[Any]:
    """Return the events of the answer; ["page"] if the request went on to the pages."""
    events: list[Any] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        events.append("page")

    async def send(event: Any) -> None:
        events.append(event)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": pairs}
    await served(page)(scope, None, send)
    return events


async def test_a_file_is_answered_at_once() -> None:
    start, body = await ask("/static/messaging/user.css")
    assert (start["status"], dict(start["headers"])[b"Content-Type"]) == (200, b'text/css; charset="utf-8"')
    assert body["body"].startswith(b"/* The visitor's page")


async def test_the_head_of_a_file_is_that_of_the_file_without_its_content() -> None:
    whole, _ = await ask("/static/messaging/user.css")
    assert await ask("/static/messaging/user.css", "HEAD") == [whole, {"type": "http.response.body", "body": b""}]


@pytest.mark.parametrize(
    "path",
    ["/user/", "/static/nothing.css", "/static/messaging", "/static/../manage.py", "/static/%00.css", "/static/\0.css"],
)
async def test_everything_else_is_for_the_pages(path: str) -> None:
    assert await ask(path) == ["page"]


async def test_a_file_of_another_version_is_asked_for_again_at_the_same_place() -> None:
    start, _ = await ask("/static/a b\r\nX: y.0123456789ab.js", query="try=14")
    assert start["status"] == 302
    assert start["headers"] == [
        (b"Location", b"/static/a%20b%0D%0AX%3A%20y.0123456789ab.js?try=15"),
        (b"Cache-Control", b"no-store"),
    ]
    assert await ask("/static/user.0123456789ab.js", query="try=15") == ["page"]
