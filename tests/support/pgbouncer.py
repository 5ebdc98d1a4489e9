"""PgBouncer in front of PostgreSQL, in the mode in which a client has no session of its own."""

import contextlib
import os
import shutil
from collections.abc import Sequence

import psycopg

from tests.support.services import HOST, Postgres, Service, program


class PgBouncer(Service):
    """PgBouncer in transaction mode with its own defaults: 100 clients, 20 connections to each database.

    By `server_round_robin`, it gives every transaction to the connection that has been idle for the longest time. That
    is harder than the default, by which a single client would always get the same connection, as if in a session.
    """

    name = "PgBouncer"

    def __init__(self, postgres: Postgres) -> None:
        super().__init__()
        self._postgres = postgres
        users, self._configuration = self.directory / "users.txt", self.directory / "pgbouncer.ini"
        users.write_text('"messaging" ""\n')
        self._configuration.write_text(
            f"""
[databases]
* = host={HOST} port={postgres.port}
[pgbouncer]
listen_addr = {HOST}
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
server_round_robin = 1
"""
        )
        if os.geteuid() == 0:  # PgBouncer refuses to run as root
            self.user = "postgres"
            shutil.chown(self.directory, self.user)

    def command(self) -> Sequence[str]:
        return [program("pgbouncer"), str(self._configuration)]

    def is_ready(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url(self._postgres.url("postgres"))):
            return True
        return False

    def url(self, database: str) -> str:
        """Return the URL that leads through this pooler to `database`, a URL of its PostgreSQL."""
        return database.replace(f":{self._postgres.port}/", f":{self.port}/")
