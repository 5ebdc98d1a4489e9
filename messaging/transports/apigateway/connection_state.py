"""The state of a connection between two invocations, as plain JSON values."""

from dataclasses import asdict, fields, replace
from typing import Any

from messaging.protocol.codes import ErrorCode
from messaging.service.actions import Connection

_FIELDS = {field.name for field in fields(Connection) if field.compare} - {"id", "held"}


def dump(connection: Connection) -> dict[str, Any]:
    """Return the state from which `restore` makes the connection again, in any process."""
    return {name: value for name, value in asdict(connection).items() if name in _FIELDS}


def restore(connection_id: str, state: dict[str, Any]) -> Connection:
    """Return the connection with `state`, without fields that only another version of this code knows."""
    known = {name: value for name, value in state.items() if name in _FIELDS}
    connection = Connection(connection_id, held=False, **known)
    connection.strikes = {ErrorCode(code): number for code, number in connection.strikes.items()}
    return connection


def copy(connection: Connection) -> Connection:
    """Return a copy, to compare the connection with later."""
    return replace(connection, strikes=dict(connection.strikes))
