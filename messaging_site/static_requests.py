"""Requests for static files, answered by whitenoise: under ASGI before they cost a turn, a thread or a middleware.

Files are small, so each is sent whole: Django would cut it into parts of 4 KiB, and keep them until Python's cyclic
garbage collector runs.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import Response

from messaging_site.page_requests import ASGIApplication

PATH = urlsplit(settings.STATIC_URL).path  # of files on this host; browsers may be sent to another one
HASHED = re.compile(r"\.[0-9a-f]{12}\.\w+")
TRIED = re.compile(r"try=([0-9]{1,2})")
TRIES = 15  # browsers follow 20 redirects
FILES = 2  # that one turn of the event loop answers: each takes up to a millisecond


@cache
def _files() -> WhiteNoiseMiddleware:
    """Return the index of all files, made once for the process."""
    return WhiteNoiseMiddleware()


def answer(method: str, path: str, query: str, headers: Mapping[str, str]) -> Response | None:
    """Return whitenoise's answer to a request, or None if no file is meant. The caller closes its `file`.

    `headers`: those of the request, under their names in WSGI.
    """
    if not path.startswith(PATH):
        return None
    index = _files()
    file = index.find_file(path) if index.autorefresh else index.files.get(path)
    return file.get_response(method, headers) if file else _of_another_version(path, query)


def _of_another_version(path: str, query: str) -> Response | None:
    """Redirect a request for a missing file to itself: the next process may have that file.

    During a rollout a page and its files may come from different versions.
    """
    before = TRIED.fullmatch(query)
    tries = int(before[1]) + 1 if before else 1
    if tries > TRIES or not HASHED.search(path):
        return None
    return Response(HTTPStatus.FOUND, [("Location", f"{quote(path)}?try={tries}"), ("Cache-Control", "no-store")], None)


def _content(found: Response) -> bytes:
    if found.file is None:
        return b""
    with found.file:
        content: bytes = found.file.read()
    return content


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Return a Django middleware that answers requests for static files, for servers without ASGI."""
    _files()

    def respond(request: HttpRequest) -> HttpResponse:
        query = request.META.get("QUERY_STRING", "")
        found = answer(request.method or "", request.path_info, query, request.META)
        if found is None:
            return get_response(request)
        response = HttpResponse(_content(found), status=int(found.status))
        del response["Content-Type"]
        for name, value in found.headers:
            response[name] = value
        return response

    return respond


def served(application: ASGIApplication) -> ASGIApplication:
    """Return `application`, for HTTP, with requests for static files answered before it."""
    _files()
    turn = asyncio.Semaphore(FILES)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if not scope["path"].startswith(PATH):
            return await application(scope, receive, send)
        query, environment = scope["query_string"].decode("latin-1"), _environment(scope["headers"])
        async with turn:  # not while it is sent: its client may read slowly
            found = answer(scope["method"], scope["path"], query, environment)
            content = _content(found) if found else b""
            await asyncio.sleep(0)
        if found is None:
            return await application(scope, receive, send)
        headers = [(name.encode(), value.encode("latin-1")) for name, value in found.headers]
        await send({"type": "http.response.start", "status": int(found.status), "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return serve


def _environment(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {
        f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}": value.decode("latin-1") for name, value in headers
    }
