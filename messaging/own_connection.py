"""Database connections of threads that keep one for good, instead of sharing the pool of page requests."""

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper


def own_connection() -> BaseDatabaseWrapper:
    """Return a new connection to the default database, which is not from the pool."""
    connection = connections.create_connection(DEFAULT_DB_ALIAS)
    options = {name: value for name, value in connection.settings_dict["OPTIONS"].items() if name != "pool"}
    connection.settings_dict = connection.settings_dict | {"OPTIONS": options}
    return connection
