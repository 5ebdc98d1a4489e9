"""Middlewares for headers without a Django setting, and for static files while two versions run side by side."""

import re
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
HASHED = re.compile(r"\.[0-9a-f]{12}\.\w+")
TRIED = re.compile(r"try=([0-9]{1,2})")
TRIES = 15  # browsers follow 20 redirects

GetResponse = Callable[[HttpRequest], HttpResponse]


def permissions_policy(get_response: GetResponse) -> GetResponse:
    """Return a middleware that denies pages the features they don't need, so that no injected script can use them."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Permissions-Policy"] = PERMISSIONS_POLICY
        response["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    return respond


def static_files_of_another_version(get_response: GetResponse) -> GetResponse:
    """Return a middleware that redirects a request for a missing file to itself: the next process may have that file.

    During a rollout a page and its files may come from different versions. Place it after the one that serves files.
    """

    def respond(request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(settings.STATIC_URL) or not HASHED.search(request.path):
            return get_response(request)
        before = TRIED.fullmatch(request.META.get("QUERY_STRING", ""))
        tries = int(before[1]) + 1 if before else 1
        if tries > TRIES:
            return get_response(request)
        response = HttpResponseRedirect(f"{request.path}?try={tries}")
        response["Cache-Control"] = "no-store"
        return response

    return respond
