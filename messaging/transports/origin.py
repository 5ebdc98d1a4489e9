"""Protection from cross-site WebSocket hijacking: a browser's `Origin` must be ours (RFC 6455 section 10.2)."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain


def allowed_origin(scope: dict[str, Any]) -> bool:
    """Return whether the handshake in `scope` may be accepted.

    `Host` must be in ALLOWED_HOSTS. `Origin`, if there is one, must name the same host and port (with https if the
    site is HTTPS_ONLY) or be one of CSRF_TRUSTED_ORIGINS. Clients other than browsers send none; they hold no cookies
    that could be abused.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"host", b"origin")}
    host = headers.get(b"host", "").lower()
    if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        return False
    origin = headers.get(b"origin")
    if origin is None:
        return True
    parts = urlsplit(origin.lower())
    schemes = ("https",) if settings.HTTPS_ONLY else ("http", "https")
    own = parts.scheme in schemes and parts.netloc == host
    return own or trusted_origin(origin)


def trusted_origin(origin: str) -> bool:
    """Return whether `origin` is in CSRF_TRUSTED_ORIGINS, as a gateway requires: its host is not that of the pages."""
    parts = urlsplit(origin.lower())
    return any(_trusts(trusted, parts.scheme, parts.netloc) for trusted in _trusted())


def _trusted() -> list[str]:
    return [origin.lower() for origin in settings.CSRF_TRUSTED_ORIGINS]


def _trusts(trusted: str, scheme: str, netloc: str) -> bool:
    parts = urlsplit(trusted)
    return parts.scheme == scheme and is_same_domain(netloc, parts.netloc.removeprefix("*"))
