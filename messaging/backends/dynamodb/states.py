"""What is known of each connection that an API Gateway holds: between two of its frames no process remembers it."""

import json
from typing import Any

from messaging.backends.dynamodb.client import ConditionFailed, Item, Table, expired, expiry, key


class ConnectionStates:
    """One per process. Layout: an item of the connection store's table for each connection.

    - partition key `group`: `connection:{id}`; sort key `connection_id`: the id
    - `state`: JSON text
    - `expires_at`: as the store's

    Every method raises StoreUnavailable when the table does not answer in a bounded time, and may then be called again.
    """

    def __init__(self, *, table: str, region: str, ttl: int = 7_800, timeout: float = 1.0) -> None:
        self._ttl = ttl
        self._table = Table(table, region, timeout=timeout, purpose="states")

    async def load(self, connection_id: str) -> dict[str, Any] | None:
        """What was saved last, by whatever process; None for a connection that is unknown or has expired."""
        answer = await self._table.run("get_item", Key=_key(connection_id), ConsistentRead=True)
        return _state(answer.get("Item"))

    async def save(
        self, connection_id: str, state: dict[str, Any], *, instead_of: dict[str, Any] | None = None
    ) -> bool:
        """Keep `state`, JSON values, for another time to live.

        With `instead_of`, as it was loaded, only where that is what is still kept. Returns whether `state` is kept.
        """
        condition: dict[str, Any] = {}
        if instead_of is not None:
            condition = {
                "ConditionExpression": "#state = :old",
                "ExpressionAttributeNames": {"#state": "state"},
                "ExpressionAttributeValues": {":old": _text(instead_of)},
            }
        item = _key(connection_id) | {"state": _text(state)} | expiry(self._ttl)
        try:
            await self._table.run("put_item", Item=item, **condition)
        except ConditionFailed:
            return False
        return True

    async def take(self, connection_id: str) -> dict[str, Any] | None:
        """Forget the connection: what was known of it, to one caller alone."""
        answer = await self._table.run("delete_item", Key=_key(connection_id), ReturnValues="ALL_OLD")
        return _state(answer.get("Attributes"))

    async def close(self) -> None:
        """Give back what this holds open."""
        await self._table.close()


def _key(connection_id: str) -> Item:
    return key(f"connection:{connection_id}", connection_id)


def _text(state: dict[str, Any]) -> dict[str, str]:
    return {"S": json.dumps(state, separators=(",", ":"))}


def _state(item: Item | None) -> dict[str, Any] | None:
    if item is None or expired(item):
        return None
    state: dict[str, Any] = json.loads(item["state"]["S"])
    return state
