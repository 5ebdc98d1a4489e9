"""The server processes as the holder of the clients' connections."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener
from uuid import uuid4

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings

from messaging.operations.health import DRAIN_HEADER
from messaging.runtime import runtime
from messaging.service.actions import CloseGroup, Publish
from messaging.transports.base import MARK, Holder, NotDrained, T, Trip, TripFailed
from messaging.transports.channels.hub import HEAR_SECONDS, Hub
from messaging.transports.channels.swallowed import swallowed

DRAIN_SECONDS = 5.0  # for one answer of the server that drains
LOOK_SECONDS = 0.2  # between two looks at whether it has stopped


class ServerHolder(Holder):
    """This process and all others that share the channel layer."""

    needs_store = False

    def __init__(self) -> None:
        self.probes = f"http://{_own_host(settings.HOST)}:{settings.HEALTH_CHECK_PORT}"

    def run(self, work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        result: T = async_to_sync(work)(*arguments)
        return result

    async def publish(self, told: Sequence[Publish | CloseGroup]) -> None:
        _publish(runtime.hub, told)

    def announce(self, told: Sequence[Publish | CloseGroup]) -> None:
        """Publish through the hubs of this process, or through a temporary one if it has none."""
        hubs = runtime.hubs()
        for loop, hub in hubs.items():
            loop.call_soon_threadsafe(_publish, hub, told)
        if not hubs:
            asyncio.run(self._publish_and_close(told))

    def drain(self) -> str:
        """Drain the server on this machine: it sends its clients elsewhere, finishes its work and stops."""
        opener = build_opener(ProxyHandler({}))  # probes are internal: never through a proxy
        drain = Request(f"{self.probes}/drain", method="POST", headers={DRAIN_HEADER: "1"})  # noqa: S310  loopback
        try:
            opener.open(drain, timeout=DRAIN_SECONDS).close()
        except OSError as error:
            raise NotDrained(f"No server answers on {self.probes}: {getattr(error, 'reason', error)}") from error
        while True:
            try:
                opener.open(f"{self.probes}/health", timeout=DRAIN_SECONDS).close()
            except TimeoutError:
                continue  # it hangs, but has not ended
            except (URLError, ConnectionError):
                return "The server has stopped."
            time.sleep(LOOK_SECONDS)

    def trips(self) -> Mapping[str, Trip]:
        return {"channel_layer": _through_the_layer}

    async def _publish_and_close(self, told: Sequence[Publish | CloseGroup]) -> None:
        await self.publish(told)
        await runtime.close()


def _own_host(host: str) -> str:
    """Return the host of URLs that lead to the server on this machine that listens on the address `host`."""
    address = ip_address(host)
    if address.is_unspecified:  # "localhost" is tried in both families: a machine may lack one of them
        return "localhost" if address.version == 6 else "127.0.0.1"
    return f"[{host}]" if address.version == 6 else host


def _publish(hub: Hub, told: Sequence[Publish | CloseGroup]) -> None:
    for action in told:
        hub.publish(action)


async def _through_the_layer() -> None:
    layer: Any = get_channel_layer()
    group = f"{MARK}-{uuid4().hex}"
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    try:
        await layer.group_send(group, {"type": MARK})
        async with asyncio.timeout(HEAR_SECONDS):
            await layer.receive(channel)
    except TimeoutError:
        raise TripFailed(swallowed.reason or f"no own message within {HEAR_SECONDS:g} s") from None
    finally:
        await layer.group_discard(group, channel)
