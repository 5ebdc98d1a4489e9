"""The connection store that Lambda functions share."""

import asyncio
from collections.abc import Iterator
from typing import cast
from zlib import crc32

from messaging.backends.base import ConnectionStore
from messaging.backends.dynamodb.client import Item, Table, expiry, key, rehearse, together
from messaging.backends.dynamodb.schema import Schema
from messaging.protocol.fields import Role
from messaging.service.contracts import USERS, StoredConnection

SHARDS = 8  # partitions of USERS, the only group that grows with the site; each takes 1,000 writes a second


class DynamoDBStore(ConnectionStore):
    """Layout: one item per connection and group, with the row's fields; no scans and no indexes.

    - partition key `group`: the group's name; all visitors' connections are spread over `users#0` to `users#7`
    - sort key `connection_id`
    - `expires_at`: seconds since 1970 (TTL attribute); expired items are not read, even if not removed yet

    The clock is the function's own, since DynamoDB has none to ask; AWS synchronises the functions' clocks to within a
    millisecond. `ttl` exceeds the two hours after which a gateway ends a connection, so a row that is still needed
    would be lost only to a clock that is wrong by the difference: 10 minutes by default.
    """

    def __init__(self, *, table: str, region: str, ttl: int = 7_800, timeout: float = 1.0) -> None:
        super().__init__(ttl=ttl)
        self._table = Table(table, region, timeout=timeout, purpose="connections")
        self._region = region

    async def store_connection(self, connection: StoredConnection) -> None:
        item = _item(connection) | expiry(self.ttl)
        await together(self._table.run("put_item", Item=item | row) for row in _keys(connection))

    async def remove_connection(self, connection: StoredConnection) -> None:
        await together(self._table.run("delete_item", Key=row) for row in _keys(connection))

    async def get_connections(self, group: str) -> list[StoredConnection]:
        found = await together(self._read(partition) for partition in _partitions(group))
        return sorted((row for rows in found for row in rows), key=lambda connection: connection.age)

    async def count(self, group: str) -> int:
        return sum(await together(self._count(partition) for partition in _partitions(group)))

    async def rehearse(self) -> None:
        await rehearse(self._table)

    async def differences(self) -> list[str]:
        with Schema(self._table.name, self._region) as schema:
            return await asyncio.to_thread(schema.differences)

    async def migrate(self) -> None:
        with Schema(self._table.name, self._region) as schema:
            await asyncio.to_thread(schema.migrate)

    async def close(self) -> None:
        await self._table.close()

    async def _read(self, partition: str) -> list[StoredConnection]:
        return [_connection(item) async for page in self._table.query(partition) for item in page["Items"]]

    async def _count(self, partition: str) -> int:
        return sum([page["Count"] async for page in self._table.query(partition, Select="COUNT")])


def _partitions(group: str) -> list[str]:
    return [f"{group}#{shard}" for shard in range(SHARDS)] if group == USERS else [group]


def _keys(connection: StoredConnection) -> Iterator[Item]:
    for group in connection.groups:
        partitions = _partitions(group)
        partition = partitions[crc32(connection.id.encode()) % len(partitions)]
        yield key(partition, connection.id)


def _item(connection: StoredConnection) -> Item:
    """Return the non-key attributes. An admin's connection has no conversation, and so lacks that attribute."""
    item: Item = {
        "connection_type": {"S": connection.connection_type},
        "principal": {"S": connection.principal},
        "version": {"N": str(connection.version)},
        "pod": {"S": connection.pod},
        "connected_at": {"S": connection.connected_at},
    }
    return item if connection.conversation is None else item | {"conversation": {"S": connection.conversation}}


def _connection(item: Item) -> StoredConnection:
    return StoredConnection(
        id=item["connection_id"]["S"],
        connection_type=cast(Role, item["connection_type"]["S"]),
        conversation=item["conversation"]["S"] if "conversation" in item else None,
        principal=item["principal"]["S"],
        version=int(item["version"]["N"]),
        pod=item["pod"]["S"],
        connected_at=item["connected_at"]["S"],
    )
