"""The names that Django imports from a database backend: django-prometheus' PostgreSQL, with its connections pooled."""

from typing import Any

from django_prometheus.db.backends.postgresql import base
from django_prometheus.db.common import DatabaseWrapperMixin


class DatabaseWrapper(base.DatabaseWrapper):
    """A wrapper that counts statements. What it takes from the pool is not counted: mostly, it is open already."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        return super(DatabaseWrapperMixin, self).get_new_connection(conn_params)
