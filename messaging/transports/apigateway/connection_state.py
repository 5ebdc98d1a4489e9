"""A connection as it is kept between two invocations: plain JSON values."""

from dataclasses import asdict, fields, replace
from typing import Any

from messaging.protocol.codes import ErrorCode
from messaging.service.actions import Connection

_FIELDS = {field.name for field in fields(Connection)} - {"id", "held", "touched_at", "checked_at"}


def dump(connection: Connection) -> dict[str, Any]:
    """What `restore` makes the connection from again, in whatever process."""
    return {name: value for name, value in asdict(connection).items() if name in _FIELDS}


def restore(connection_id: str, state: dict[str, Any]) -> Connection:
    """The connection; a field that another version of this code kept, and this one does not know, is left out."""
    known = {name: value for name, value in state.items() if name in _FIELDS}
    connection = Connection(connection_id, held=False, **known)
    connection.strikes = {ErrorCode(code): number for code, number in connection.strikes.items()}
    return connection


def copy(connection: Connection) -> Connection:
    """To see later whether anything has changed that is kept."""
    return replace(connection, strikes=dict(connection.strikes))
