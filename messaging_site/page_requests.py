"""A bound on the page requests that a process works on at once: each takes a thread and a database connection."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.template.loader import render_to_string
from django.utils.translation import get_language_from_request, override

ASGIApplication = Callable[[Any, Any, Any], Awaitable[None]]

WAIT_SECONDS = 10.0  # for a turn, before the answer is 503
WAITING = 500  # requests that may wait for a turn; more get 503 at once
RETRY_SECONDS = 5  # after which a refused browser tries again


def bounded(application: ASGIApplication, most: int) -> ASGIApplication:
    """Return `application`, for HTTP, with at most `most` requests at work; the others wait for their turn in order."""
    turns = asyncio.Semaphore(most)
    waiting = 0

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        nonlocal waiting
        if waiting >= WAITING:
            return await refuse(scope, send)
        waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turns.acquire()
        except TimeoutError:
            return await refuse(scope, send)
        finally:
            waiting -= 1
        try:
            await application(scope, receive, send)
        finally:
            turns.release()

    return serve


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
