"""Tokens whose content is genuine, but which are signed with another key, for another purpose, or too long ago."""

import time

from django.core import signing

from messaging import tokens

FORGERIES = ("another key", "another purpose", "expired", "no signature", "another signature")


class _Past(signing.TimestampSigner):
    """A signer whose clock is `seconds` behind."""

    def __init__(self, seconds: float, salt: str) -> None:
        super().__init__(salt=salt)
        self._seconds = seconds

    def timestamp(self) -> str:
        return signing.b62_encode(int(time.time() - self._seconds))


def forged_admin(forgery: str, session: str) -> str:
    """Return a token that names the login session `session`, a digest, forged as `forgery` says (one of FORGERIES)."""
    return _forged(forgery, session, tokens.ADMIN_SALT, tokens.VISITOR_SALT, tokens.ADMIN_SECONDS)


def forged_visitor(forgery: str, conversation: str) -> str:
    """Return a token that names the visitor of `conversation`, forged as `forgery` says (one of FORGERIES)."""
    return _forged(forgery, conversation, tokens.VISITOR_SALT, tokens.ADMIN_SALT, tokens.VISITOR_SECONDS)


def _forged(forgery: str, content: object, salt: str, other_salt: str, seconds: int) -> str:
    unsigned, _, signature = signing.dumps(content, salt=salt).rpartition(":")
    match forgery:
        case "another key":
            return signing.dumps(content, key="a key that the servers do not have", salt=salt)
        case "another purpose":
            return signing.dumps(content, salt=other_salt)
        case "expired":
            return _Past(seconds + 1, salt).sign_object(content)
        case "no signature":
            return unsigned
        case "another signature":
            return f"{unsigned}:{signature[::-1]}"
    raise ValueError(forgery)
