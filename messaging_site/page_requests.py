"""A bound on the page requests that a process works on at once: each takes a thread and a database connection."""

import asyncio
import io
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.template.loader import render_to_string
from django.utils.translation import get_language_from_request, override

from messaging.transports import client_address
from messaging_site import logins

ASGIApplication = Callable[[Any, Any, Any], Awaitable[None]]
Client = tuple[str, bool]  # an address, and whether the request has a cookie of a login

WAIT_SECONDS = 10.0  # for a turn, before the answer is 503
WAITING = 500  # requests that may wait for a turn; if there are more, one gets 503 at once
RETRY_SECONDS = 5  # after which a refused browser tries again


def bounded(
    application: ASGIApplication, most: int, counts: Callable[[Any], bool] = lambda scope: True
) -> ASGIApplication:
    """Return `application`, for HTTP, with at most `most` requests at work; the others wait for their turn.

    Requests whose scopes don't count are served at once.
    """
    turns = Turns(most)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if not counts(scope):
            return await application(scope, receive, send)
        if not await turns.take(scope):
            return await refuse(scope, send)
        try:
            await application(scope, receive, send)
        finally:
            turns.give_back()

    return serve


def in_turns(application: ASGIApplication, most: int) -> ASGIApplication:
    """Return `application`, for HTTP, with at most `most` requests at work.

    Logins first wait for each other, so that one turn at least can be for a page.
    """
    return bounded(bounded(application, most), max(1, most - 1), logins.is_attempt)


class Turns:
    """Turns to work, which waiting clients get in rotation, so that a client with many requests delays no other.

    The staff of a hall share its address with a thousand visitors. So the requests with the cookie of a login, present
    or past, wait as another client: a forged one doubles what an address gets, and no more.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        # By client; the first client is the next one. A request leaves when it gets a turn or a refusal.
        self._waiting: dict[Client, deque[asyncio.Future[bool]]] = {}

    async def take(self, scope: Any) -> bool:
        """Return True when the request has its turn, which has to be given back, and False if it is to be refused."""
        if self._free:
            self._free -= 1
            return True
        client = _client(scope)
        if sum(map(len, self._waiting.values())) >= WAITING and not self._make_room(client):
            return False
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        timer = loop.call_later(WAIT_SECONDS, self._answer, client, turn, False)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._remove(client, turn)
            elif turn.result():
                self.give_back()
            raise
        finally:
            timer.cancel()

    def give_back(self) -> None:
        """Give a turn to the next client, which is then the last one in the rotation."""
        for client in list(self._waiting):
            queue = self._waiting.pop(client)
            self._waiting[client] = queue
            for turn in list(queue):
                self._remove(client, turn)
                if not turn.done():  # its request has not just been cancelled
                    return turn.set_result(True)
        self._free += 1

    def _make_room(self, newcomer: Client) -> bool:
        """Refuse the last request of the client with the most. Return False if the newcomer would have as many."""
        own = len(self._waiting.get(newcomer, ())) + 1
        most = max(self._waiting, key=lambda client: len(self._waiting[client]), default=newcomer)
        if most == newcomer or len(self._waiting[most]) <= own:
            return False
        self._answer(most, self._waiting[most][-1], False)
        return True

    def _answer(self, client: Client, turn: "asyncio.Future[bool]", answer: bool) -> None:
        self._remove(client, turn)
        if not turn.done():
            turn.set_result(answer)

    def _remove(self, client: Client, turn: "asyncio.Future[bool]") -> None:
        queue = self._waiting.get(client, deque())
        if turn in queue:
            queue.remove(turn)
        if not queue:
            self._waiting.pop(client, None)


def _client(scope: Any) -> Client:
    cookies = [f"{name}=".encode() for name in (settings.SESSION_COOKIE_NAME, logins.KNOWN_COOKIE)]
    return client_address.pseudonym(scope), any(
        name == b"cookie" and cookie in value for name, value in scope["headers"] for cookie in cookies
    )


async def refuse(scope: Any, send: Any) -> None:
    """Answer with 503 and a page that says so, without a thread and without the database."""
    request = ASGIRequest(scope, io.BytesIO())
    again = RETRY_SECONDS if request.method in ("GET", "HEAD") else None  # a form is sent again by its sender alone
    with override(get_language_from_request(request)):
        body = render_to_string("messaging/busy.html", {"again": again}).encode()
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", b"default-src 'none'"),
        (b"cache-control", b"no-store"),
        (b"retry-after", str(RETRY_SECONDS).encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})
