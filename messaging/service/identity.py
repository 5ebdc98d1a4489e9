"""The visitor or staff member that a connection belongs to, and the rights of the connection."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from messaging import tokens
from messaging.protocol import frames
from messaging.protocol.codes import ErrorCode, ProtocolError
from messaging.protocol.fields import Role
from messaging.service.actions import Action, Connection, Join, Reply, timestamp
from messaging.service.contracts import START, Cursor, StaffMember
from messaging.service.gate import Gate
from messaging.service.registry import Registry

if TYPE_CHECKING:
    from messaging.journal.journal import Journal

RECHECK_SECONDS = 300  # between two checks of an admin's rights; the transport of a held connection checks them too


class Identity:
    """The identities of connections. `retention_days`: clients can't resume from cursors older than this."""

    def __init__(
        self,
        journal: "Journal",
        registry: Registry,
        gate: Gate,
        retention_days: int,
        clock: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._registry = registry
        self._gate = gate
        self._retention_days = retention_days
        self._clock = clock

    async def identify(self, connection: Connection, frame: frames.Identify) -> list[Action]:
        named = await self.become(connection, frame.type, frame.token, frame.version)
        if frame.version == 1:
            return [Join(), Reply(frames.Identified(frame.type, timestamp()))]
        connection.lang = frame.lang
        # An erased visitor comes back as a new one: that does not count as a resume that lost history.
        connection.resuming = frame.since is not None and named in (None, connection.conversation)
        return [Join(), Reply(await self._identified(connection, frame.id, frame.since, frame.seen))]

    async def begin_anew(self, connection: Connection) -> frames.Identified:
        """Turn the connection of an erased visitor into that of a new one; return its `identified` frame.

        Raise StoreUnavailable if a store is unavailable.
        """
        visitor = await self._journal.successor(connection.conversation or "")
        await self._registry.remove(connection)
        connection.conversation, connection.head, connection.has_written = visitor, "", False
        await self._registry.touch(connection)
        return await self._identified(connection)

    async def _identified(
        self, connection: Connection, id: str | None = None, since: str | None = None, seen: str | None = None
    ) -> frames.Identified:
        role, visitor = connection.role or "user", connection.conversation
        head = await self._journal.head(visitor)
        connection.has_written = head != START
        connection.handed(str(head))
        connection.presence = await self._registry.presence(role)
        read = await self._journal.read_by_staff(visitor) if visitor and head != START else None
        writing, pause = await self._gate.tell(connection)
        return frames.Identified(
            role,
            timestamp(),
            v=frames.VERSION,
            id=id,
            token=tokens.mint_visitor(visitor) if visitor else None,
            conversation=visitor,
            cursor=str(head),
            recovered=await self._recoverable(since, seen, head, visitor),
            quick=await self._journal.quick_messages("visitor", connection.lang),
            read=str(read) if read else None,
            replies=await self._journal.quick_messages("reply", connection.lang) if role == "admin" else None,
            presence=connection.presence,
            me=_me(connection) if role == "admin" else None,
            writing=writing,
            pause=pause,
        )

    async def become(self, connection: Connection, role: Role, token: str | None, version: int) -> str | None:
        """Give `connection` its role and protocol version. Return the visitor named by `token`, erased or not.

        Return None if it names none. Raise ProtocolError (unauthorized, forbidden) if the connection may not have this
        role, StoreUnavailable if a store is unavailable.
        """
        if connection.role not in (None, role):
            raise ProtocolError(ErrorCode.FORBIDDEN, "A connection can't change its role.")
        named = None
        if role == "admin":
            session = tokens.read_admin(token or "")
            if session is None:
                raise ProtocolError(ErrorCode.UNAUTHORIZED, "An admin needs a fresh token from the admin page.")
            connection.session = session
            await self._check_rights(connection)
        else:
            named = known = tokens.read_visitor(token or "")
            if named is not None and await self._journal.erased(named):
                # An erased visitor becomes a new one, with the same block.
                known = connection.conversation or await self._journal.successor(named)
            visitor = known or connection.conversation or str(uuid4())
            if connection.conversation not in (None, visitor):
                raise ProtocolError(ErrorCode.FORBIDDEN, "A connection can't change its visitor.")
            connection.conversation = visitor
        connection.role = role
        connection.version = version
        await self._registry.touch(connection)
        return named

    async def recheck(self, connection: Connection) -> None:
        """Check an admin's rights again if due: every RECHECK_SECONDS, or at each frame through a gateway.

        Raise ProtocolError (unauthorized, forbidden) if they are lost, StoreUnavailable if the journal is unavailable.
        """
        if connection.staff is not None and self._clock() - connection.checked_at > RECHECK_SECONDS:
            await self._check_rights(connection)

    async def revoked(self, connections: Sequence[Connection]) -> list[tuple[Connection, ProtocolError]]:
        """Return those of `connections` whose staff member may no longer have them, each with the reason.

        Other rights that were granted or withdrawn meanwhile are updated on the connections that stay.
        """
        members = await self._journal.signed_in({connection.session for connection in connections})
        refusals = []
        for connection in connections:
            try:
                self._admit(connection, members.get(connection.session))
            except ProtocolError as error:
                refusals.append((connection, error))
        return refusals

    async def _check_rights(self, connection: Connection) -> None:
        for _, error in await self.revoked([connection]):
            raise error

    def _admit(self, connection: Connection, member: StaffMember | None) -> None:
        if member is None or connection.staff not in (None, member.id):
            raise ProtocolError(ErrorCode.UNAUTHORIZED, "You are signed out.")
        if not member.may_view:
            raise ProtocolError(ErrorCode.FORBIDDEN, "This account may not read messages.")
        connection.staff = member.id
        connection.name = member.name
        connection.author = member.author
        connection.may_reply = member.may_reply
        connection.may_manage = member.may_manage
        connection.may_block = member.may_block
        connection.may_unblock = member.may_unblock
        connection.checked_at = self._clock()

    async def _recoverable(self, since: str | None, seen: str | None, head: Cursor, visitor: str | None) -> bool:
        """Return whether a client only lacks history after `since`: this journal has that place, and has not pruned it.

        It also has `seen`, the newest message that the client shows, if that is given.
        """
        cursor = Cursor.parse(since or "")
        if cursor is None:
            return False
        kept_since = (time.time() - self._retention_days * 86_400) * 1000
        if cursor.seq != START.seq and cursor.ms < kept_since:
            return False
        places = {Cursor(cursor.seq, cursor.ms), Cursor.parse(seen or "") or START} - {head, START}
        return not places or await self._journal.holds(places, visitor)


def _me(connection: Connection) -> dict[str, int | str | bool]:
    return {
        "id": connection.staff or 0,
        "name": connection.name,
        "author": connection.author,
        "reply": connection.may_reply,
        "manage": connection.may_manage,
        "block": connection.may_block,
        "unblock": connection.may_unblock,
    }
