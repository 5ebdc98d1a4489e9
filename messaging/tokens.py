"""The signed tokens of `identify`: they name a visitor, or the staff member who asks for an admin connection.

A pass comes before them, in the URL of a handshake: it keeps a place for a staff member, and identifies nobody. All are
signed with SECRET_KEY and one salt per purpose, so that a token of one kind is not valid as another.
"""

from uuid import UUID

from django.core import signing

VISITOR_SECONDS = 30 * 24 * 3600
ADMIN_SECONDS = 60

VISITOR_SALT = "messaging.visitor"
ADMIN_SALT = "messaging.admin"
PASS_SALT = "messaging.pass"  # noqa: S105  not a secret


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


def mint_pass() -> str:
    """Return a pass, valid for ADMIN_SECONDS: logs may hold it, because it opens nothing that others can't open."""
    return signing.dumps("", salt=PASS_SALT)


def is_pass(text: str) -> bool:
    """Return whether `text` is a pass that is still valid."""
    return text.isascii() and _read(text, PASS_SALT, ADMIN_SECONDS) == ""


def _read(token: str, salt: str, seconds: int) -> object:
    try:
        return signing.loads(token, salt=salt, max_age=seconds)
    except signing.BadSignature:
        return None
