"""Pseudonyms of client addresses, for limits. They change every day."""

import hashlib
import hmac
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings
from django.http import HttpRequest


def pseudonym(scope: dict[str, Any]) -> str:
    """Return a key for the address of the client in `scope`."""
    return pseudonym_of(client_address(scope))


def pseudonym_of(client: str) -> str:
    """Return a key for a client's address. No address is kept, and today's key can't be linked to tomorrow's.

    All IPv6 addresses of a /64 have the same key, because one household or host has all of them (RFC 6177).
    """
    address = ip_address(client)
    network = ip_network((address, 64), strict=False) if isinstance(address, IPv6Address) else address
    today = datetime.now(UTC).date().isoformat()
    return hmac.new(settings.SECRET_KEY.encode(), f"{today} {network}".encode(), hashlib.sha256).hexdigest()[:24]


def of_request(request: HttpRequest) -> str:
    """Return the key of a page's request in the form of an IPv6 address, because django-axes stores it as one."""
    return str(IPv6Address(int(pseudonym_of_request(request), 16)))


def pseudonym_of_request(request: HttpRequest) -> str:
    """Return the key of a page's request, which is also that of its WebSocket."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").encode("latin-1")
    headers = [(b"x-forwarded-for", forwarded)] if forwarded else []
    address = request.META.get("REMOTE_ADDR")
    scope = {"client": (address, 0) if address else None, "headers": headers}
    return pseudonym(scope)


def client_address(scope: dict[str, Any]) -> str:
    """Return the client's address: the socket's, or the one that the outermost of TRUSTED_PROXY_COUNT proxies saw.

    Each proxy appends the address of its own client, so entries further left may be forged.
    """
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = [hop.strip() for hop in ",".join(forwarded).split(",")]
    client = scope.get("client")
    address: str = client[0] if client else "::"  # a Unix socket has no address
    count = settings.TRUSTED_PROXY_COUNT
    if not 0 < count <= len(hops):
        return address
    try:
        return str(ip_address(hops[-count]))
    except ValueError:
        return address
