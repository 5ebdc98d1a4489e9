"""Signed credentials of `identify`: who a visitor is, and which staff member asks for an admin connection.

Signed with SECRET_KEY, one salt per purpose: no token serves for the other.
"""

from dataclasses import dataclass
from uuid import UUID

from django.core import signing
from django.utils.crypto import salted_hmac

VISITOR_SECONDS = 30 * 24 * 3600
ADMIN_SECONDS = 60

VISITOR_SALT = "messaging.visitor"
ADMIN_SALT = "messaging.admin"


def mint_visitor(visitor: str) -> str:
    """A token for the visitor with this id (UUID text), good for VISITOR_SECONDS."""
    return signing.dumps(visitor, salt=VISITOR_SALT)


def read_visitor(token: str) -> str | None:
    """The visitor's id; None where the token is forged, expired or of another purpose."""
    value = _read(token, VISITOR_SALT, VISITOR_SECONDS)
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class AdminGrant:
    """Who minted an admin token: a staff member's primary key, the digest of the session it was done in, and the mark
    of the password that was theirs then.
    """

    staff: int
    session: str = ""
    password_mark: str = ""


def session_digest(session_key: str) -> str:
    """A name for a login session that its key can't be told from."""
    return salted_hmac("messaging.session", session_key, algorithm="sha256").hexdigest()[:32]


def mint_admin(staff: int, session: str = "", password_mark: str = "") -> str:
    """A token for the staff member with this primary key, good for ADMIN_SECONDS and for `identify` alone.

    `session`: the digest of the login session whose end closes the connections that the token opened.
    `password_mark`: of the password without which the token is good for nothing.
    """
    return signing.dumps([staff, session, password_mark], salt=ADMIN_SALT)


def read_admin(token: str) -> AdminGrant | None:
    """Who minted it; None where the token is forged, expired or of another purpose."""
    match _read(token, ADMIN_SALT, ADMIN_SECONDS):
        case [int(staff), str(session), str(password_mark)]:
            return AdminGrant(staff, session, password_mark)
    return None


def _read(token: str, salt: str, seconds: int) -> object:
    try:
        return signing.loads(token, salt=salt, max_age=seconds)
    except signing.BadSignature:
        return None
