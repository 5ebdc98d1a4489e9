"""The states of the connections that an API Gateway holds: no process remembers them between two frames."""

import json
from typing import Any

from messaging.backends.dynamodb.client import ConditionFailed, Item, Table, expired, expiry, key


class ConnectionStates:
    """The stored states. One instance per process. Layout: an item of the connection store's table for each connection.

    - partition key `group`: `connection:{id}`; sort key `connection_id`: the id
    - `state`: JSON text
    - `expires_at`: as the store's

    Every method raises StoreUnavailable if the table does not answer within a bounded time, and may then be repeated.
    """

    def __init__(self, *, table: str, region: str, ttl: int = 7_800, timeout: float = 1.0) -> None:
        self._ttl = ttl
        self._table = Table(table, region, timeout=timeout, purpose="states")

    async def load(self, connection_id: str) -> dict[str, Any] | None:
        """Return the state that any process saved last; None for a connection that is unknown or has expired."""
        answer = await self._table.run("get_item", Key=_key(connection_id), ConsistentRead=True)
        return _state(answer.get("Item"))

    async def save(
        self, connection_id: str, state: dict[str, Any], *, instead_of: dict[str, Any] | None = None
    ) -> bool:
        """Save `state`, which consists of JSON values, for another time to live. Return whether it was saved.

        With `instead_of`, a state as it was loaded, `state` is saved only if `instead_of` is still the stored state.
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
        """Delete the state of a connection, and return it. Of several callers only one gets it, the others get None."""
        answer = await self._table.run("delete_item", Key=_key(connection_id), ReturnValues="ALL_OLD")
        return _state(answer.get("Attributes"))

    async def close(self) -> None:
        """Release the threads and connections."""
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
