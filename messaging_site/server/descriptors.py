"""The file descriptors of a server: how many it may open, and for how many connections they are enough.

Each connection takes one. If they ran out, probes would find a server that works to be dead, and the database could not
be reached any more.
"""

import resource
import sys
from dataclasses import dataclass

PROBES = 64  # connections to the port of the probes
OTHERS = 192  # descriptors for the database, Redis, files and the interpreter itself
PLAIN = 1_024  # connections for pages, and for WebSockets that are told that the server is full


@dataclass(frozen=True, slots=True)
class Room:
    """The room for connections. `limit`: descriptors that the process may open.

    `connections`: connections to the application's port. `sockets`: WebSockets among them that are served.
    """

    limit: int
    connections: int
    sockets: int


def room(sockets: int) -> Room:
    """Return the room that a server would have in this process; `sockets`: the most WebSockets that it is to serve."""
    return _room(sockets, _limits(sockets)[1])


def make_room(sockets: int) -> Room:
    """Raise this process' limit to what `sockets` WebSockets need, or as far as it may. Return the room then."""
    limit, wanted = _limits(sockets)
    if wanted > limit:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        except (ValueError, OSError):  # macOS has a limit below the hard one, and does not tell it
            wanted = limit
    return _room(sockets, wanted)


def _limits(sockets: int) -> tuple[int, int]:
    """Return the limit that this process has, and the one that a server sets."""
    soft, hard = (
        sys.maxsize if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return soft, max(soft, min(hard, sockets + PLAIN + PROBES + OTHERS))


def _room(sockets: int, limit: int) -> Room:
    connections = max(0, limit - PROBES - OTHERS)
    plain = min(PLAIN, connections // 4)
    served = min(sockets, connections - plain)
    return Room(limit, min(connections, sockets + PLAIN), served)
