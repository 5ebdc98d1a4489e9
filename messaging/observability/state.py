"""The current state of this process as gauges, read only when they are scraped, so that events cost nothing."""

from collections import Counter
from collections.abc import Iterator

from django.db import DEFAULT_DB_ALIAS

from messaging.backends import availability
from messaging.journal.reader import DatabaseState
from messaging.observability import metrics
from messaging.observability.recorder import Reading
from messaging.runtime import runtime
from messaging.transports.channels.crowd import crowd


def readings(*, database_up: bool, database: DatabaseState) -> Iterator[Reading]:
    """Yield the value of every gauge. `database_up`: whether the database answered just now; `database`: its answer."""
    sockets, hub = runtime.sockets, runtime.hub
    roles = Counter(socket.connection.role or metrics.NOBODY for socket in sockets)
    for role in metrics.CONNECTED:
        yield metrics.CONNECTIONS, (role,), roles[role]
    yield metrics.CONNECTIONS_LIMIT, (), sockets.limit
    seen = crowd(sockets)
    yield metrics.ADDRESSES, (), seen.addresses
    yield metrics.ADDRESS_CONNECTIONS_MAX, (), seen.most
    yield metrics.OUTBOX_BYTES, (), sum(socket.outbox_bytes for socket in sockets)
    yield metrics.LOG_WAITING, (), runtime.journal.waiting
    yield metrics.DATABASE_UP, (), database_up
    yield metrics.DATABASE_CONNECTIONS, (), database.connections
    yield metrics.DATABASE_CONNECTIONS_LIMIT, (), database.connections_limit
    yield metrics.MIGRATIONS_APPLIED, (DEFAULT_DB_ALIAS,), database.applied
    yield metrics.MIGRATIONS_UNAPPLIED, (DEFAULT_DB_ALIAS,), database.unapplied
    yield metrics.LAYER_UP, (), hub.layer_up
    states = availability.states()
    for store in metrics.STORES:
        yield metrics.STORE_UP, (store,), states.get(store, True)
    yield metrics.LOOP_LAG, (), runtime.lag.seconds
    yield metrics.DRAINING, (), sockets.draining
    recorder = runtime.meter.recorder
    yield metrics.BUILD_INFO, (recorder.version,), 1
