"""Rows of a connection store."""

from messaging.service.contracts import StoredConnection, staff_group

CONNECTED_AT = "2026-01-01T00:00:00.000Z"


def admin(
    connection_id: str, *, version: int = 2, pod: str = "pod-a", connected_at: str = CONNECTED_AT
) -> StoredConnection:
    return StoredConnection(connection_id, "admin", None, staff_group(7), version, pod, connected_at)


def visitor(connection_id: str, conversation: str) -> StoredConnection:
    return StoredConnection(connection_id, "user", conversation, f"visitor:{conversation}", 2, "pod-a", CONNECTED_AT)
