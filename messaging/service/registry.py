"""The service's side of the connection store: nothing that a person does fails because the store is down."""

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
    """Who is connected. `pod` names this process in the rows that it writes."""

    def __init__(self, connections: "ConnectionStore", pod: str, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._pod = pod
        self._clock = clock

    async def touch(self, connection: Connection) -> None:
        """Write `connection`'s row, whole, with a new time to live.

        Raises StoreUnavailable where messages would not find the connection without it.
        """
        connection.touched_at = self._clock()
        try:
            await self._connections.touch(self._row(connection))
        except StoreUnavailable as error:
            if not connection.held:
                raise
            # Messages do not depend on it, and the next touch writes the whole row.
            logger.warning("connection not stored", extra={"connection": connection.id, "error": str(error)})

    async def touch_if_due(self, connection: Connection) -> bool:
        """Whether it was due; always for a gateway's connection, which says seldom that it is there.

        Its row outlives it anyway, and is written but once: every write is billed.
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
            # Its row goes with its time to live.
            logger.warning("connection not removed", extra={"connection": connection.id, "error": str(error)})

    async def last_of(self, principal: str) -> bool:
        """Whether a staff member, by principal, is known to have no connection."""
        try:
            return await self._connections.count(principal) == 0
        except StoreUnavailable as error:
            logger.warning("connections unknown", extra={"error": str(error)})
            return False

    async def admins(self) -> int:
        """How many admin connections there are; 0 where nobody knows."""
        presence = await self.presence("user")
        return presence["admins"] if presence else 0

    async def presence(self, role: Role) -> dict[str, int] | None:
        """The counts that `role` may see; None where nobody knows."""
        try:
            presence = {"admins": await self._connections.count(ADMINS)}
            if role == "admin":
                presence["users"] = await self._connections.count(USERS)
        except StoreUnavailable as error:
            logger.debug("presence unknown", extra={"error": str(error)})  # the store says that it is down, once
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
