"""The signed tokens of `identify`: they name a visitor, or the staff member who asks for an admin connection.

They are signed with SECRET_KEY and one salt per purpose, so that a token of one kind is not valid as the other.
"""

from uuid import UUID

from django.core import signing

VISITOR_SECONDS = 30 * 24 * 3600
ADMIN_SECONDS = 60

VISITOR_SALT = "messaging.visitor"
ADMIN_SALT = "messaging.admin"


def mint_visitor(visitor: str) -> str:
    """Return a token for the visitor with this id (UUID text), valid for VISITOR_SECONDS."""
    return signing.dumps(visitor, salt=VISITOR_SALT)


def read_visitor(token: str) -> str | None:
    """Return the visitor's id; None if `token` is forged, expired or of another purpose."""
    value = _read(token, VISITOR_SALT, VISITOR_SECONDS)
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def mint_admin(session: str) -> str:
    """Return a token for whoever is signed in in a login session, valid for ADMIN_SECONDS and for `identify` alone.

    `session`: the digest of the session, whose end closes the connections that the token has opened.
    """
    return signing.dumps(session, salt=ADMIN_SALT)


def read_admin(token: str) -> str | None:
    """Return the digest of the session in `token`; None if it is forged, expired or of another purpose."""
    value = _read(token, ADMIN_SALT, ADMIN_SECONDS)
    return value if isinstance(value, str) else None


def _read(token: str, salt: str, seconds: int) -> object:
    try:
        return signing.loads(token, salt=salt, max_age=seconds)
    except signing.BadSignature:
        return None
