"""What this process is like right now, read when somebody asks: no event pays for it."""

from collections import Counter
from collections.abc import Iterator

from messaging import availability, runtime
from messaging.observability import names
from messaging.observability.recorder import Reading


def readings(*, database_up: bool) -> Iterator[Reading]:
    """The value of every gauge. `database_up`: what the database answered just now."""
    sockets, hub = runtime.get_sockets(), runtime.get_hub()
    roles = Counter(socket.connection.role or names.NOBODY for socket in sockets)
    for role in names.CONNECTED:
        yield names.CONNECTIONS, (role,), roles[role]
    yield names.CONNECTIONS_LIMIT, (), sockets.limit
    yield names.OUTBOX_BYTES, (), sum(socket.outbox_bytes for socket in sockets)
    yield names.LOG_WAITING, (), runtime.get_log().waiting
    yield names.DATABASE_UP, (), database_up
    yield names.LAYER_UP, (), hub.layer_up
    states = availability.states()
    for store in names.STORES:
        yield names.STORE_UP, (store,), states.get(store, True)
    yield names.LOOP_LAG, (), runtime.get_lag().seconds
    yield names.DRAINING, (), sockets.draining
    recorder = runtime.get_meter().recorder
    yield names.BUILD_INFO, (recorder.version,), 1
