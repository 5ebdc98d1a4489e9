"""The number of sockets of each client address, over all Lambda functions."""

import logging

from messaging.backends.base import Addresses
from messaging.backends.dynamodb.client import Item, Table, expiry, key, rehearse
from messaging.backends.memory import MemoryAddresses
from messaging.service.contracts import StoreUnavailable

logger = logging.getLogger(__name__)


class DynamoDBAddresses(Addresses):
    """Layout: an item of the connection store's table for each socket.

    - partition key `group`: `address:{pseudonym}`; sort key `connection_id`: the socket's id
    - `expires_at`: as the store's; not refreshed, since a gateway closes a socket before that
    """

    def __init__(self, *, table: str, region: str, ttl: int = 7_800, timeout: float = 1.0) -> None:
        self._ttl = ttl
        self._table = Table(table, region, timeout=timeout, purpose="addresses")
        self._fallback = MemoryAddresses()

    async def enter(self, address: str, socket: str) -> int:
        try:
            await self._table.run("put_item", Item=_key(address, socket) | expiry(self._ttl))
            pages = self._table.query(_partition(address), Select="COUNT")
            count: int = sum([page["Count"] async for page in pages])
        except StoreUnavailable:
            return self._fallback.enter_now(address, socket)
        await self._fallback.close()  # its sockets may have left by way of other processes, unnoticed
        return count

    async def leave(self, address: str, socket: str) -> None:
        self._fallback.leave_now(address, socket)
        try:
            await self._table.run("delete_item", Key=_key(address, socket))
        except StoreUnavailable as error:
            logger.warning("address count not updated", extra={"connection": socket, "error": str(error)})

    async def rehearse(self) -> None:
        await rehearse(self._table)

    async def close(self) -> None:
        await self._table.close()


def _partition(address: str) -> str:
    return f"address:{address}"


def _key(address: str, socket: str) -> Item:
    return key(_partition(address), socket)
