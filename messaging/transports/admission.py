"""The limits on the WebSockets of one client address, whatever the transport."""

from messaging.backends.base import Addresses, Bucket, Rate
from messaging.backends.memory import MemoryLimiter
from messaging.service.actions import Connection, Refusal
from messaging.service.service import MessagingService

# The refused handshakes of one address that a process answers in words, for the page to show. Others get an HTTP
# status, which costs less; the page then knows only that the handshake failed.
TOLD = Rate(burst=1_000, seconds=0.02)


class Admission:
    """The admission of connections. `addresses` counts them by address, in all processes.

    `limit_per_address`: how many visitors' connections one address may have; 0: no limit. Connections with a pass are
    staff's: they neither count nor are refused.
    """

    def __init__(self, service: MessagingService, addresses: Addresses, limit_per_address: int) -> None:
        self._service = service
        self._addresses = addresses
        self._limit_per_address = limit_per_address
        self._told = MemoryLimiter()

    async def enter(self, connection: Connection, *, full: bool = False) -> Refusal | None:
        """Charge a handshake and count its connection, for which `leave` has to be called later.

        Return why it must be refused, or None; a refused connection is not counted. `full`: its transport has no place
        for it.
        """
        if not connection.has_pass and (refusal := await self._service.admit(connection)):
            return refusal
        if full:
            return "full"
        if connection.has_pass or not self._limit_per_address:
            return None
        if await self._addresses.enter(connection.address, connection.id) <= self._limit_per_address:
            return None
        await self.leave(connection)
        return "connections"

    async def leave(self, connection: Connection) -> None:
        """Stop counting a connection: it has ended, or turned out to be staff's. May be called twice."""
        if self._limit_per_address and not connection.has_pass:
            await self._addresses.leave(connection.address, connection.id)

    def tells(self, connection: Connection) -> bool:
        """Return whether the client of a refused connection is told the reason, rather than only an HTTP status."""
        return self._told.take_now(Bucket(connection.address, TOLD)) == 0
