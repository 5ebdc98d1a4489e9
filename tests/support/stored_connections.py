"""Rows of a connection store."""

from dataclasses import replace

from messaging.contracts import StoredConnection, staff_group


def admin(connection_id: str, **changes: object) -> StoredConnection:
    row = StoredConnection(connection_id, "admin", None, staff_group(7), 2, "pod-a", "2026-01-01T00:00:00.000Z")
    return replace(row, **changes)


def visitor(connection_id: str, conversation: str) -> StoredConnection:
    at = "2026-01-01T00:00:00.000Z"
    return StoredConnection(connection_id, "user", conversation, f"visitor:{conversation}", 2, "pod-a", at)
