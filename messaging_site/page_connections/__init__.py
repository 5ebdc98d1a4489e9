"""The database connections of page requests: few, shared, and counted by django-prometheus.

The journal's connections are configured without all this (messaging/journal/connection.py): their statements go out
together, in a pipeline, so the time of a single one would mean nothing.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django_prometheus.db import (
    connection_errors_total,
    connections_total,
    execute_many_total,
    execute_total,
    query_duration_seconds,
)
from psycopg import Connection

from messaging.journal.connection import FRESH_SECONDS

COUNTED = (connections_total, connection_errors_total, execute_total, execute_many_total, query_duration_seconds)
POOL_SECONDS = 2.0  # how long a request waits for a connection of the pool


class CountedConnection(Connection[Any]):
    """A connection that is counted when the pool opens it."""

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> "CountedConnection":
        connections_total.labels(DEFAULT_DB_ALIAS, "postgresql").inc()
        try:
            return super().connect(*args, **kwargs)
        except Exception:
            connection_errors_total.labels(DEFAULT_DB_ALIAS, "postgresql").inc()
            raise


def share(most: int) -> None:
    """Have the threads of this process take their connections from a pool: a request has a thread of its own.

    Call this before any is opened. `most`: the connections to PostgreSQL that the pool may hold. SQLite needs no pool.
    """
    configured = connections.settings[DEFAULT_DB_ALIAS]
    if "postgresql" in configured["ENGINE"]:
        pool = {
            "connection_class": CountedConnection,
            "min_size": 0,
            "max_size": most,
            "timeout": POOL_SECONDS,
            "max_lifetime": FRESH_SECONDS,
        }
        own = {
            "ENGINE": __name__,  # `base`, beside this file
            "OPTIONS": configured["OPTIONS"] | {"pool": pool},
            "CONN_MAX_AGE": 0,  # a request gives its connection back at its end
        }
        vendor = "postgresql"
    else:
        own, vendor = {"ENGINE": "django_prometheus.db.backends.sqlite3"}, "sqlite"
    # A new dictionary: that of the settings stays as configured, for the journal.
    connections.settings = {**connections.settings, DEFAULT_DB_ALIAS: configured | own}
    for metric in COUNTED:
        metric.labels(DEFAULT_DB_ALIAS, vendor)  # begins at 0, so that the first error is an increase
