"""The rules for presence frames: which connections get them, and when."""

from collections.abc import Iterable

from messaging.backends.base import Bucket, Limiter, Rate
from messaging.protocol import frames
from messaging.service.actions import Action, Connection, Publish, Reply, timestamp
from messaging.service.contracts import ADMINS
from messaging.service.registry import Registry

PRESENCE_SECONDS = 2.0  # between two readings of the counts, by each process for all connections that it holds
# How often admins on a gateway are notified that a connection has begun or ended; a `pong` brings them the rest.
RATE = Rate(1, PRESENCE_SECONDS)


class Presence:
    """Presence frames. Admins get every change of the counts, visitors only whether any staff are connected."""

    def __init__(self, registry: Registry, limiter: Limiter) -> None:
        self._registry = registry
        self._limiter = limiter

    def news(self, connections: Iterable[Connection], counts: dict[str, int]) -> list[tuple[Connection, list[Action]]]:
        """Return presence frames for the connections whose last-sent counts differ. Version 1 gets none."""
        concerned = [connection for connection in connections if connection.role and connection.version > 1]
        found = [(connection, _news(connection, counts)) for connection in concerned]
        return [(connection, actions) for connection, actions in found if actions]

    async def came_or_went(self, connection: Connection) -> list[Action]:
        """Return the presence frame for admins if `connection`, held by a gateway, has just identified or ended.

        No process checks the counts of a gateway's connections every two seconds. Only the first change within RATE is
        published; admins get the others with their next `pong`.
        """
        if connection.held or connection.role is None:
            return []
        # Before the counts: to count everyone at each of a thousand arrivals would read a million rows.
        if await self._limiter.take(Bucket("presence", RATE)) > 0:
            return []
        counts = await self._registry.presence("admin")
        if not counts or not counts["admins"]:
            return []
        frame = frames.Presence(counts["admins"], timestamp(), counts["users"])
        return [Publish(ADMINS, frame, min_version=2, exclude=connection.id)]


def _news(connection: Connection, counts: dict[str, int]) -> list[Action]:
    told = connection.presence
    if connection.role == "admin":
        known = told == counts
    else:
        counts = {"admins": counts["admins"]}
        known = told is not None and (told["admins"] > 0) == (counts["admins"] > 0)
    if known:
        return []
    connection.presence = counts
    return [Reply(frames.Presence(counts["admins"], timestamp(), counts.get("users")))]
