"""The one instance of each part that a process needs, built from the settings.

Backends are dotted paths with OPTIONS, as Django's are: `MESSAGING_STORE = {"BACKEND": ..., "OPTIONS": {...}}`.
"""

import asyncio
import socket
from functools import cache
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from messaging.limits import Limiter
from messaging.log import MessageLog
from messaging.service import MessagingService
from messaging.stores.base import ConnectionStore
from messaging.transports.hub import Hub
from messaging.transports.sockets import Sockets

_sockets: dict[asyncio.AbstractEventLoop, Sockets] = {}
_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def _backend(config: dict[str, Any]) -> Any:
    return import_string(config["BACKEND"])(**config.get("OPTIONS", {}))


@cache
def get_store() -> ConnectionStore:
    """The connection store."""
    store: ConnectionStore = _backend(settings.MESSAGING_STORE)
    return store


@cache
def get_limiter() -> Limiter:
    """The rate limits."""
    limiter: Limiter = _backend(settings.MESSAGING_LIMITER)
    return limiter


@cache
def get_log() -> MessageLog:
    """The message log."""
    return MessageLog()


@cache
def get_service() -> MessagingService:
    """The product's rules over the two."""
    return MessagingService(
        get_store(),
        get_log(),
        limiter=get_limiter(),
        rates=settings.MESSAGING_RATES,
        heartbeat_ms=settings.MESSAGING_HEARTBEAT_MS,
        retention_days=settings.MESSAGE_RETENTION_DAYS,
        pod=socket.gethostname(),
    )


def get_hub() -> Hub:
    """The hub of the running event loop; begun by the first who asks."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub(get_service(), publish_delay=settings.MESSAGING_PUBLISH_DELAY_MS / 1000)
    return _hubs[loop]


def get_sockets() -> Sockets:
    """The open sockets of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _sockets:
        _sockets[loop] = Sockets(settings.MAX_CONNECTIONS, settings.SOCKETS_PER_ADDRESS)
    return _sockets[loop]


async def close() -> None:
    """Let what is under way finish, then close the hub of this loop, the log and the store."""
    _sockets.pop(asyncio.get_running_loop(), None)
    hub = _hubs.pop(asyncio.get_running_loop(), None)
    if hub is not None:
        await hub.close()
    for get_part in (get_log, get_store, get_limiter):
        if get_part.cache_info().currsize:
            await get_part().close()
    for part in (get_service, get_log, get_store, get_limiter):
        part.cache_clear()
