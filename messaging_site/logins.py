"""Budgets of the login page: tries are counted before the password is hashed, which takes a third of a second of CPU.

An address has a budget, and so have all addresses together. Whoever has signed in before, in the same browser and under
the same name, has a budget of its own instead: a flood from the same hall, or from everywhere, does not lock out staff.
(OWASP calls this device cookies.)
"""

import math
from hashlib import sha256
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from messaging.backends.base import Bucket, Rate
from messaging.runtime import runtime
from messaging.transports.client_address import pseudonym_of_request

PATH = "/admin/login/"
KNOWN_COOKIE = "messaging-known"  # sent to the login page alone
COOKIE_SECONDS = 90 * 24 * 3600
KNOWN_RATE = Rate(5, 180)  # of a known browser: as many tries as django-axes allows others


def is_attempt(scope: Any) -> bool:
    """Return whether the request in `scope` tries to sign in, for which its password has to be hashed."""
    return scope["method"] == "POST" and str(scope["path"]).endswith(PATH)  # also below a root path


def seconds_to_wait(request: HttpRequest, name: str) -> int:
    """Take one try from the budgets of this login. Return 0, or the seconds until the next try if there is none."""
    if browser := _browser(request, name):
        return _take(f"login:browser:{browser}", KNOWN_RATE)
    # The address first: one that has no tries left must not use up those of all.
    address = _take(f"login:address:{pseudonym_of_request(request)}", settings.LOGIN_RATE_ADDRESS)
    return address or _take("login", settings.LOGIN_RATE)


def is_known(request: HttpRequest, credentials: dict[str, str] | None = None) -> bool:
    """Return whether somebody has signed in before, in this browser and under this name. For django-axes."""
    return bool(_browser(request, (credentials or {}).get("username", "")))


def remember(response: HttpResponse, user: AbstractBaseUser) -> None:
    """Have the browser show at the next login that `user` has signed in in it."""
    browser = uuid4().hex
    response.set_cookie(
        KNOWN_COOKIE,
        signing.dumps([browser, _digest(browser, user.get_username())], salt=KNOWN_COOKIE),
        max_age=COOKIE_SECONDS,
        path=reverse("admin:login"),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _browser(request: HttpRequest, name: str) -> str:
    """Return the id of a browser in which `name` has signed in before; "" of any other."""
    try:
        known = request.COOKIES.get(KNOWN_COOKIE, "")
        browser, digest = signing.loads(known, salt=KNOWN_COOKIE, max_age=COOKIE_SECONDS)
    except signing.BadSignature:
        return ""
    return browser if digest == _digest(browser, name) else ""


def _digest(browser: str, name: str) -> str:
    """Return what binds a cookie to a name, which it does not show. The cookie is signed, so this needs no secret."""
    return sha256(f"{browser} {name}".encode()).hexdigest()[:32]


def _take(key: str, rate: Rate | None) -> int:
    return 0 if rate is None else math.ceil(runtime.holder.run(runtime.limiter.take, Bucket(key, rate)))
