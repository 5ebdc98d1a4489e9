"""The one instance of each part that a process needs, built from the settings.

Backends are dotted paths with OPTIONS, as Django's are: `MESSAGING_STORE = {"BACKEND": ..., "OPTIONS": {...}}`.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.module_loading import import_string

from messaging.backends.base import Addresses, ConnectionStore, Limiter
from messaging.journal.journal import Journal
from messaging.observability.lag import LoopLag
from messaging.observability.meter import Meter
from messaging.observability.tracer import Tracer
from messaging.service.service import MessagingService
from messaging.transports.channels.sockets import Sockets

# Modules that only some deployments need are imported on first use: Channels, or boto3 with its 20 MB.
if TYPE_CHECKING:
    from messaging.backends.dynamodb.states import ConnectionStates
    from messaging.service.actions import CloseGroup, Publish
    from messaging.transports.apigateway.gateway import Gateway
    from messaging.transports.channels.hub import Hub

logger = logging.getLogger(__name__)

_lags: dict[asyncio.AbstractEventLoop, LoopLag] = {}
_sockets: dict[asyncio.AbstractEventLoop, Sockets] = {}
_hubs: "dict[asyncio.AbstractEventLoop, Hub]" = {}


def _backend(config: dict[str, Any]) -> Any:
    return import_string(config["BACKEND"])(**config.get("OPTIONS", {}))


@cache
def get_store() -> ConnectionStore:
    """Return the connection store."""
    store: ConnectionStore = _backend(settings.MESSAGING_STORE)
    return store


@cache
def get_limiter() -> Limiter:
    """Return the limiter, which keeps the rate limits."""
    limiter: Limiter = _backend(settings.MESSAGING_LIMITER)
    return limiter


@cache
def get_addresses() -> Addresses:
    """Return the counter of each client address' sockets."""
    addresses: Addresses = _backend(settings.MESSAGING_ADDRESSES)
    return addresses


@cache
def get_states() -> "ConnectionStates":
    """Return the store of the states of connections that the gateway holds."""
    states: ConnectionStates = _backend(settings.MESSAGING_STATES)
    return states


@cache
def get_gateway() -> "Gateway":
    """Return the client of the API Gateway that holds the WebSockets."""
    from messaging.transports.apigateway.gateway import Gateway

    return Gateway(settings.WEBSOCKET_API_ENDPOINT, settings.AWS_REGION, **settings.MESSAGING_GATEWAY_OPTIONS)


@cache
def get_meter() -> Meter:
    """Return the meter, to which measurements are reported."""
    return Meter(_backend(settings.MESSAGING_METRICS))


@cache
def get_tracer() -> Tracer:
    """Return the tracer of messages."""
    tracer: Tracer = _backend(settings.MESSAGING_TRACER)
    return tracer


@cache
def get_journal() -> Journal:
    """Return the journal."""
    return Journal(**settings.MESSAGING_JOURNAL_OPTIONS, committed=get_meter().committed)


@cache
def get_service() -> MessagingService:
    """Return the service: the product's rules, on top of the connection store and the journal."""
    return MessagingService(
        get_store(),
        get_journal(),
        limiter=get_limiter(),
        rates=settings.MESSAGING_RATES,
        heartbeat_ms=settings.MESSAGING_HEARTBEAT_MS,
        retention_days=settings.MESSAGE_RETENTION_DAYS,
        pod=socket.gethostname(),
    )


def get_hub() -> "Hub":
    """Return the hub of the running event loop; the first call starts it."""
    from messaging.transports.channels.hub import Hub

    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub(get_service(), catch_up_seconds=settings.MESSAGING_CATCH_UP_SECONDS)
    return _hubs[loop]


def hubs() -> "dict[asyncio.AbstractEventLoop, Hub]":
    """Return all hubs of this process, for code that runs in none of their loops."""
    return dict(_hubs)


def announce(told: "Sequence[Publish | CloseGroup]") -> None:
    """Announce to open pages what was committed outside any connection. Wait for a few seconds at most; never raise."""
    if not told:
        return
    try:
        import_string(settings.MESSAGING_ANNOUNCER)(told)
    except Exception:  # of any kind: the change is committed, and pages will find it
        logger.exception("announcement failed")


def get_sockets() -> Sockets:
    """Return the open sockets of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _sockets:
        _sockets[loop] = Sockets(settings.MAX_CONNECTIONS, settings.SOCKETS_PER_ADDRESS, get_addresses())
    return _sockets[loop]


def get_lag() -> LoopLag:
    """Return the lag of the running event loop, which is measured from the first call on."""
    loop = asyncio.get_running_loop()
    if loop not in _lags:
        _lags[loop] = LoopLag(loop)
    return _lags[loop]


async def close() -> None:
    """Let work in progress finish, then close the hub of this loop and every part that was made."""
    loop = asyncio.get_running_loop()
    if loop in _hubs:
        await _hubs[loop].close()
    for get_part in (get_journal, get_store, get_states, get_limiter, get_addresses, get_gateway):
        if get_part.cache_info().currsize:
            await get_part().close()
    for part in (get_service, get_meter, get_journal, get_store, get_states, get_limiter, get_addresses, get_gateway):
        part.cache_clear()
    if get_tracer.cache_info().currsize:
        await asyncio.to_thread(get_tracer().close)
        get_tracer.cache_clear()
    if loop in _lags:
        _lags[loop].close()
    # Removed last, because probes still call for them: new ones would not know of the drain, and would start to work.
    for of_loops in (_hubs, _sockets, _lags):
        of_loops.pop(loop, None)
