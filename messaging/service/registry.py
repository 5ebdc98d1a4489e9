"""The service's access to the connection store.

While the store is unavailable no frame fails, except those that register a connection held by a gateway. The store logs
once that it is down, so nothing here logs it for each connection.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from messaging.protocol.fields import Role
from messaging.service.actions import Connection
from messaging.service.contracts import ADMINS, USERS, StoredConnection, StoreUnavailable

if TYPE_CHECKING:
    from messaging.backends.base import ConnectionStore

logger = logging.getLogger(__name__)

TOUCH_SECONDS = 60  # between two refreshes of a connection's row


class Registry:
    """The connections in the store. `pod`: the name of this process in the rows that it writes."""

    def __init__(self, connections: "ConnectionStore", pod: str, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._pod = pod
        self._clock = clock

    async def touch(self, connection: Connection) -> None:
        """Write the whole row of `connection`, with a new time to live.

        Raise StoreUnavailable if that fails and a gateway holds the connection: no message would reach it.
        """
        connection.touched_at = self._clock()
        try:
            await self._connections.touch(self._row(connection))
        except StoreUnavailable as error:
            if not connection.held:
                raise
            # A held connection gets its messages without the row, and the next touch writes the whole row.
            logger.debug("connection not stored", extra={"connection": connection.id, "error": str(error)})

    async def touch_if_due(self, connection: Connection) -> bool:
        """Refresh the row of `connection` if that is due. Return whether it was.

        A connection held by a gateway always counts as due, since it pings rarely. But its row is not written again: it
        outlives the connection anyway, and every write is billed.
        """
        if not connection.held:
            return True
        due = connection.role is not None and self._clock() - connection.touched_at > TOUCH_SECONDS
        if due:
            await self.touch(connection)
        return due

    async def remove(self, connection: Connection) -> None:
        if connection.role is None:
            return
        try:
            await self._connections.remove_connection(self._row(connection))
        except StoreUnavailable as error:
            # The row expires with its time to live.
            logger.debug("connection not removed", extra={"connection": connection.id, "error": str(error)})

    async def last_of(self, principal: str) -> bool:
        """Return whether a staff member, given by principal, has no connection left; False if that is unknown."""
        try:
            return await self._connections.count(principal) == 0
        except StoreUnavailable as error:
            logger.debug("connection count unavailable", extra={"error": str(error)})
            return False

    async def admins(self) -> int:
        """Return the number of admin connections; 0 if the store is unavailable."""
        presence = await self.presence("user")
        return presence["admins"] if presence else 0

    async def presence(self, role: Role) -> dict[str, int] | None:
        """Return the numbers of connections that `role` may see; None if the store is unavailable."""
        try:
            presence = {"admins": await self._connections.count(ADMINS)}
            if role == "admin":
                presence["users"] = await self._connections.count(USERS)
        except StoreUnavailable as error:
            logger.debug("presence unavailable", extra={"error": str(error)})
            return None
        return presence

    def _row(self, connection: Connection) -> StoredConnection:
        return StoredConnection(
            connection.id,
            connection.role or "user",
            connection.conversation,
            connection.principal,
            connection.version,
            self._pod,
            connection.connected_at,
        )
