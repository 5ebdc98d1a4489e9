"""Logins whose passwords are hashed one after another, while pages go on."""

import asyncio
import re
from threading import Event
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler

from messaging.backends.base import Rate
from messaging_site import logins, page_requests
from tests.support.waiting import eventually

# As messaging_site/asgi.py composes it; that module, too, would have this process share its database connections.
application = page_requests.in_turns(ASGIHandler(), 2)
COOKIE = re.compile(r"csrftoken=(\w+)")
SOON = 30  # seconds


class Hashes:
    """Hashes of passwords, none of which ends before `go_on`."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = Event()

    def authenticate(self, *_: object, **__: object) -> None:
        self.begun += 1
        assert self.go_on.wait(SOON)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    hashes = Hashes()
    monkeypatch.setattr("django.contrib.auth.forms.authenticate", hashes.authenticate)
    return hashes


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Rate | None]:
    """Return the budgets from which attempts were taken, in their order. None of them runs out."""
    taken: list[Rate | None] = []

    def take(key: str, rate: Rate | None) -> int:
        taken.append(rate)
        return 0

    monkeypatch.setattr(logins, "_take", take)
    return taken


async def request(method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
    """Return the status and the CSRF token of the answer. A form is sent with that token, as the cookie and as well."""
    headers = [(b"host", b"localhost"), (b"content-type", b"application/x-www-form-urlencoded")]
    if form:
        headers.append((b"cookie", f"csrftoken={form['csrfmiddlewaretoken']}".encode()))
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }
    exchange: Any = ApplicationCommunicator(application, scope)  # type: ignore[no-untyped-call]
    await exchange.send_input({"type": "http.request", "body": urlencode(form or {}).encode()})
    start = await exchange.receive_output(SOON)
    while (await exchange.receive_output(SOON)).get("more_body"):
        pass
    await exchange.wait(SOON)
    cookies = [value.decode() for name, value in start["headers"] if name.lower() == b"set-cookie"]
    return start["status"], next((found[1] for cookie in cookies if (found := COOKIE.match(cookie))), "")


async def sign_in() -> int:
    _, token = await request("GET", logins.PATH)
    form = {"username": "ada", "password": "a guess", "csrfmiddlewaretoken": token}
    return (await request("POST", logins.PATH, form))[0]


async def test_while_a_login_waits_for_another_a_page_is_served(hashes: Hashes, taken: list[Rate | None]) -> None:
    attempts = [asyncio.create_task(sign_in()) for _ in range(5)]
    await eventually(lambda: hashes.begun, "a password is hashed", until=(1).__eq__)
    assert [(await request("GET", logins.PATH))[0] for _ in range(3)] == [200] * 3
    assert (hashes.begun, [attempt.done() for attempt in attempts]) == (1, [False] * 5)
    hashes.go_on.set()
    assert await asyncio.gather(*attempts) == [200] * 5
    assert hashes.begun == 5


async def test_an_attempt_that_is_not_tried_is_not_counted(
    hashes: Hashes, taken: list[Rate | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asyncio.create_task(sign_in())
    await eventually(lambda: hashes.begun, "a password is hashed", until=(1).__eq__)
    counted = list(taken)
    monkeypatch.setattr(page_requests, "WAIT_SECONDS", 0.05)
    assert await sign_in() == 503
    assert taken == counted != []
    hashes.go_on.set()
    assert await first == 200
