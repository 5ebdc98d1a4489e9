"""Signed credentials of `identify`: who a visitor is, and which staff member asks for an admin connection.

Signed with SECRET_KEY (its fallbacks are accepted), one salt per purpose: no token serves for the other.
"""

from uuid import UUID

from django.core import signing

VISITOR_SECONDS = 30 * 24 * 3600
ADMIN_SECONDS = 60

_VISITOR = "messaging.visitor"
_ADMIN = "messaging.admin"


def mint_visitor(visitor: str) -> str:
    """A token for the visitor with this id (UUID text), good for VISITOR_SECONDS."""
    return signing.dumps(visitor, salt=_VISITOR)


def read_visitor(token: str) -> str | None:
    """The visitor's id; None where the token is forged, expired or of another purpose."""
    value = _read(token, _VISITOR, VISITOR_SECONDS)
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def mint_admin(staff: int) -> str:
    """A token for the staff member with this primary key, good for ADMIN_SECONDS and for `identify` alone."""
    return signing.dumps(staff, salt=_ADMIN)


def read_admin(token: str) -> int | None:
    """The staff member's primary key; None where the token is forged, expired or of another purpose."""
    value = _read(token, _ADMIN, ADMIN_SECONDS)
    return value if isinstance(value, int) else None


def _read(token: str, salt: str, seconds: int) -> object:
    try:
        return signing.loads(token, salt=salt, max_age=seconds)
    except signing.BadSignature:
        return None
