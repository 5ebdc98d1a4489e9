"""The parts of this process, built from the settings: `from messaging.runtime import runtime`.

Backends are dotted paths with OPTIONS, as Django's are: `MESSAGING_STORE = {"BACKEND": ..., "OPTIONS": {...}}`.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.utils.module_loading import import_string

from messaging.backends.base import Addresses, ConnectionStore, Limiter
from messaging.journal.journal import Journal
from messaging.observability.lag import LoopLag
from messaging.observability.meter import Meter
from messaging.observability.tracer import Tracer
from messaging.service.service import MessagingService
from messaging.transports.admission import Admission
from messaging.transports.channels.crowd import CrowdWatch
from messaging.transports.channels.sockets import Sockets

# Modules that only some deployments need are imported on first use: Channels, or boto3 with its 20 MB.
if TYPE_CHECKING:
    from messaging.backends.dynamodb.states import ConnectionStates
    from messaging.service.actions import CloseGroup, Publish
    from messaging.transports.apigateway.gateway import Gateway
    from messaging.transports.base import Holder
    from messaging.transports.channels.hub import Hub

logger = logging.getLogger(__name__)

T = TypeVar("T")

CLOSED_IN_ORDER = ("journal", "store", "states", "limiter", "addresses", "gateway")  # after the hubs, which use them


class Backend(cached_property[T]):
    """A part that is made on first use from a setting: the dotted path of a class, with its OPTIONS."""

    def __init__(self, setting: str) -> None:
        super().__init__(lambda _: _made(getattr(settings, setting)))


def _made(config: dict[str, Any]) -> Any:
    return import_string(config["BACKEND"])(**config.get("OPTIONS", {}))


class LoopParts:
    """The parts that belong to one event loop, in which they have to be made: they start to work at once."""

    def __init__(self, process: "Runtime") -> None:
        from channels.layers import get_channel_layer

        from messaging.transports.channels.hub import Hub

        self.sockets = Sockets(settings.MAX_CONNECTIONS, process.admission)
        self.lag = LoopLag(asyncio.get_running_loop())
        self.crowd = CrowdWatch(asyncio.get_running_loop(), self.sockets)
        self.hub = Hub(
            process.service,
            get_channel_layer(),
            meter=process.meter,
            tracer=process.tracer,
            catch_up_seconds=settings.MESSAGING_CATCH_UP_SECONDS,
        )


class Runtime:
    """The one instance of each part that a process needs; each is made on first use."""

    limiter: Backend[Limiter] = Backend("MESSAGING_LIMITER")  # keeps the rate limits
    addresses: Backend[Addresses] = Backend("MESSAGING_ADDRESSES")  # counts each client address' sockets
    states: "Backend[ConnectionStates]" = Backend("MESSAGING_STATES")  # of connections that a gateway holds
    gateway: "Backend[Gateway]" = Backend("MESSAGING_GATEWAY")  # the client of that gateway
    holder: "Backend[Holder]" = Backend("MESSAGING_HOLDER")  # of the clients' connections
    tracer: Backend[Tracer] = Backend("MESSAGING_TRACER")  # of messages

    def __init__(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, LoopParts] = {}

    @cached_property
    def meter(self) -> Meter:
        """The meter, to which measurements are reported."""
        return Meter(_made(settings.MESSAGING_METRICS))

    @cached_property
    def journal(self) -> Journal:
        """The journal."""
        return Journal(**settings.MESSAGING_JOURNAL_OPTIONS, committed=self.meter.committed)

    @cached_property
    def store(self) -> ConnectionStore:
        """The connection store."""
        store: ConnectionStore = _made(settings.MESSAGING_STORE)
        store.site = self.journal.site
        return store

    @cached_property
    def service(self) -> MessagingService:
        """The product's rules, on top of the connection store and the journal."""
        return MessagingService(
            self.store,
            self.journal,
            limiter=self.limiter,
            rates=settings.MESSAGING_RATES,
            heartbeat_ms=settings.MESSAGING_HEARTBEAT_MS,
            retention_days=settings.MESSAGE_RETENTION_DAYS,
            pod=socket.gethostname(),
        )

    @cached_property
    def admission(self) -> Admission:
        """The limits on the WebSockets of one client address."""
        return Admission(self.service, self.addresses, settings.SOCKETS_PER_ADDRESS)

    def here(self) -> LoopParts:
        """Return the parts of the running event loop; the first call starts them."""
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._loops[loop] = LoopParts(self)
        return self._loops[loop]

    @property
    def hub(self) -> "Hub":
        """The hub of the running event loop."""
        return self.here().hub

    @property
    def sockets(self) -> Sockets:
        """The open sockets of the running event loop."""
        return self.here().sockets

    @property
    def lag(self) -> LoopLag:
        """The lag of the running event loop, measured since `here` was first called in it."""
        return self.here().lag

    def hubs(self) -> "dict[asyncio.AbstractEventLoop, Hub]":
        """Return all hubs of this process, for code that runs in none of their loops."""
        return {loop: parts.hub for loop, parts in list(self._loops.items())}

    def announce(self, told: "Sequence[Publish | CloseGroup]") -> None:
        """Announce to open pages what was committed outside any connection, as a hint: never raises.

        A page that misses it finds the change in its next history.
        """
        if not told:
            return
        try:
            self.holder.announce(told)
        except Exception:  # of any kind: the change is committed
            logger.exception("announcement failed")

    async def close(self) -> None:
        """Let work in progress finish, then close the hub of this loop and every part that was made."""
        loop, made = asyncio.get_running_loop(), vars(self)
        here = self._loops.get(loop)
        if here is not None:
            await here.hub.close()
        for name in CLOSED_IN_ORDER:
            if name in made:
                await made[name].close()
        if "tracer" in made:
            await asyncio.to_thread(self.tracer.close)
        if here is not None:
            here.lag.close()
            here.crowd.close()
        # Removed last, as probes still ask for them: new ones would not know of the drain, and would start to work.
        self._loops.pop(loop, None)
        for name in set(made) - {"_loops"}:
            made.pop(name, None)


runtime = Runtime()
