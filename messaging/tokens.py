"""The signed tokens of `identify`: they name a visitor, or the staff member who asks for an admin connection.

They are signed with SECRET_KEY and one salt per purpose, so that a token of one kind is not valid as the other.
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
    """Return a token for the visitor with this id (UUID text), valid for VISITOR_SECONDS."""
    return signing.dumps(visitor, salt=VISITOR_SALT)


def read_visitor(token: str) -> str | None:
    """Return the visitor's id; None if `token` is forged, expired or of another purpose."""
    value = _read(token, VISITOR_SALT, VISITOR_SECONDS)
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class AdminGrant:
    """The content of an admin token.

    `staff`: the primary key of the staff member who requested it. `session`: the digest of the login session in which
    that was done. `password_mark`: that of the staff member's password at that time.
    """

    staff: int
    session: str = ""
    password_mark: str = ""


def session_digest(session_key: str) -> str:
    """Return a name for a login session from which its key can't be derived."""
    return salted_hmac("messaging.session", session_key, algorithm="sha256").hexdigest()[:32]


def mint_admin(staff: int, session: str = "", password_mark: str = "") -> str:
    """Return a token for the staff member with this primary key, valid for ADMIN_SECONDS and for `identify` alone.

    `session`: the digest of the login session; its end closes the connections that the token has opened.
    `password_mark`: that of the current password; the token is invalid with any other. Both are optional.
    """
    return signing.dumps([staff, session, password_mark], salt=ADMIN_SALT)


def read_admin(token: str) -> AdminGrant | None:
    """Return the content of `token`; None if it is forged, expired or of another purpose."""
    match _read(token, ADMIN_SALT, ADMIN_SECONDS):
        case [int(staff), str(session), str(password_mark)]:
            return AdminGrant(staff, session, password_mark)
    return None


def _read(token: str, salt: str, seconds: int) -> object:
    try:
        return signing.loads(token, salt=salt, max_age=seconds)
    except signing.BadSignature:
        return None
