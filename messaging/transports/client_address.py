"""The address of a client, as sockets and proxies write it, and the pseudonym by which limits know it.

A proxy appends the address of its own client to `X-Forwarded-For`, so only the entries of our own proxies can be
believed. TRUSTED_PROXIES and TRUSTED_PROXY_COUNT say which those are (docs/proxies.md). RFC 7239's `Forwarded` is not
read, because none of the proxies there needs it.
"""

import hashlib
import hmac
import logging
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, NamedTuple

from django.conf import settings
from django.http import HttpRequest

from messaging.models import BLOCK_DAYS

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address

NO_ADDRESS = IPv6Address("::")  # stands for the peer on a Unix socket: it is on this machine
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the client's IPv4 address
SHAPES = 10  # the most shapes of unreadable entries that are logged
FORWARDED_FOR = b"x-forwarded-for"
DOUBTED = "messaging.doubted"  # in a scope: `drop_untrusted_headers` has removed addresses from it

_WRITTEN = re.compile(
    r"""
    (?P<four> [0-9.]+ ) (:[0-9]{1,5})?  # 192.0.2.1, 192.0.2.1:4001
    | \[ (?P<bracketed> [0-9a-f:.]+ ) (%[^\]]+)? \] (:[0-9]{1,5})?  # [2001:db8::1]:4001, [fe80::1%eth0]
    | (?P<six> [0-9a-f:.]+ ) (%.+)?  # 2001:db8::1, fe80::1%eth0
    """,
    re.VERBOSE | re.IGNORECASE,
)
_shapes: set[str] = set()


class Client(NamedTuple):
    """A client. `key`: its pseudonym. `private`: its address belongs to a network that is not public.

    `doubted`: its request names further addresses in X-Forwarded-For, which were not believed.
    """

    key: str
    private: bool
    doubted: bool


def parsed(text: str) -> Address | None:
    """Return the address that a socket or a proxy wrote as `text`, or None if there is none in it.

    Quotes, brackets, a zone, a port and spaces around it may be there. An IPv6 address that stands for an IPv4 address
    (mapped, NAT64, 6to4) is that one: else all IPv4 clients would be in one /64, or one client in 65,536 of them.
    """
    found = _WRITTEN.fullmatch(text.strip().strip('"'))
    if found is None:
        return None
    try:
        address = ip_address(found["four"] or found["bracketed"] or found["six"])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        inner = IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else None
        return address.ipv4_mapped or address.sixtofour or inner or address
    return address


def client(scope: dict[str, Any]) -> Client:
    """Return the client of the request or handshake in `scope`, with or without its untrusted headers."""
    address, doubted = _client(scope)
    return Client(_key(address), not address.is_global, doubted or DOUBTED in scope)


def client_address(scope: dict[str, Any]) -> str:
    """Return the client's address: the socket's, or the one that the outermost trusted proxy saw."""
    return str(_client(scope)[0])


def drop_untrusted_headers(scope: dict[str, Any]) -> dict[str, Any]:
    """Return `scope` without the headers in which a peer that is no trusted proxy speaks for somebody else."""
    if _is_proxy(_peer(scope)):
        return scope
    headers = [(name, value) for name, value in scope["headers"] if not _speaks_for_others(name)]
    if len(headers) == len(scope["headers"]):
        return scope
    doubted = {DOUBTED: True} if any(name == FORWARDED_FOR for name, _ in scope["headers"]) else {}
    return scope | {"headers": headers} | doubted


def pseudonym(scope: dict[str, Any]) -> str:
    """Return a key for the address of the client in `scope`."""
    return client(scope).key


def pseudonym_of(address: str) -> str:
    """Return a key for a client's address. Raise ValueError if it is none."""
    return _key(_address(address))


def pseudonyms_of(address: str) -> frozenset[str]:
    """Return all keys by which a block of a client's address counts. Raise ValueError if it is none.

    They are those of the last BLOCK_DAYS, and those that were made with an old SECRET_KEY. Tomorrow's is among them: a
    connection may last until then.
    """
    network, today = _network(_address(address)), datetime.now(UTC).date()
    days = [today + timedelta(days=day) for day in range(-BLOCK_DAYS, 2)]
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return frozenset(_key_on(day, network, secret) for day in days for secret in secrets)


def of_request(request: HttpRequest) -> str:
    """Return the key of a page's request in the form of an IPv6 address, because django-axes stores it as one."""
    return str(IPv6Address(int(pseudonym_of_request(request), 16)))


def pseudonym_of_request(request: HttpRequest) -> str:
    """Return the key of a page's request, which is also that of its WebSocket."""
    return pseudonym(_scope_of(request))


def pseudonyms_of_request(request: HttpRequest) -> frozenset[str]:
    return pseudonyms_of(client_address(_scope_of(request)))


def _scope_of(request: HttpRequest) -> dict[str, Any]:
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").encode("latin-1")
    headers = [(FORWARDED_FOR, forwarded)] if forwarded else []
    address = request.META.get("REMOTE_ADDR")
    return {"client": (address, 0) if address else None, "headers": headers}


def _address(text: str) -> Address:
    if (address := parsed(text)) is None:
        raise ValueError(f"no address: {_shape(text)}")
    return address


def _key(address: Address) -> str:
    return _key_on(datetime.now(UTC).date(), _network(address), settings.SECRET_KEY)


def _network(address: Address) -> Address | IPv6Network:
    """Return the addresses that have one key.

    All IPv6 addresses of a /64 have the same key, because one household or host has all of them (RFC 6177); but not
    link-local ones, because all hosts of a network are in the same /64.
    """
    wide = isinstance(address, IPv6Address) and not address.is_link_local
    return IPv6Network((address, 64), strict=False) if wide else address


def _key_on(day: date, network: Address | IPv6Network, secret: str) -> str:
    """Return a key for `network`. No address is kept, and one day's key can't be linked to the next day's."""
    return hmac.new(secret.encode(), f"{day.isoformat()} {network}".encode(), hashlib.sha256).hexdigest()[:24]


def _peer(scope: dict[str, Any]) -> Address:
    """Return the address that the connection comes from. Raise ValueError if the server reports something else."""
    peer = scope.get("client")
    return _address(peer[0]) if peer and peer[0] else NO_ADDRESS


def _is_proxy(peer: Address) -> bool:
    """Return whether `peer` is one of our own proxies: the rule for the headers that it sends."""
    if settings.TRUSTED_PROXIES:
        return peer == NO_ADDRESS or _is_trusted(peer)
    return bool(settings.TRUSTED_PROXY_COUNT)


def _is_trusted(address: Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def _client(scope: dict[str, Any]) -> tuple[Address, bool]:
    """Return the client's address, and whether X-Forwarded-For has further entries, which are not believed."""
    peer = _peer(scope)
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == FORWARDED_FOR]
    hops = ",".join(forwarded).split(",") if forwarded else []
    if not _is_proxy(peer):
        return peer, bool(hops)
    if count := settings.TRUSTED_PROXY_COUNT:
        return _counted(peer, hops[-count:] if count <= len(hops) else []), len(hops) > count
    return _walked(peer, hops)


def _counted(peer: Address, ours: Iterable[str]) -> Address:
    """Return the first address in `ours`, the entries of our proxies: the client's if it can be read."""
    for hop in ours:
        if (address := parsed(hop)) is not None:
            return address
        _report(hop)
    return peer


def _walked(peer: Address, hops: list[str]) -> tuple[Address, bool]:
    """Return the first address, from the right, that belongs to no trusted proxy, and whether there are more."""
    address = peer
    for number, hop in enumerate(reversed(hops)):
        if number and not _is_trusted(address):
            return address, True
        if (found := parsed(hop)) is None:
            _report(hop)
            return address, True
        address = found
    return address, False


def _speaks_for_others(name: bytes) -> bool:
    return name.startswith(b"x-forwarded-") or name == b"forwarded"


def _report(hop: str) -> None:
    """Log an entry that is no address, once for each shape."""
    shape = _shape(hop)
    if shape not in _shapes and len(_shapes) < SHAPES:
        _shapes.add(shape)
        logger.warning("X-Forwarded-For has an entry that is no address", extra={"shape": shape})


def _shape(text: str) -> str:
    """Return `text` without what it says: each letter as `a`, each digit as `0`."""
    return re.sub(r"[0-9]+", "0", re.sub(r"[^\W\d_]+", "a", text.strip()))[:40]
