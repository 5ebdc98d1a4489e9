"""Login sessions, as the login page makes them, for tests that sign nobody in over HTTP."""

from django.contrib.auth.base_user import AbstractBaseUser
from django.test import Client

from messaging import tokens
from messaging.journal import logins


def login(user: AbstractBaseUser) -> str:
    """Sign `user` in. Return the digest of the login session."""
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")  # type: ignore[arg-type]
    return logins.recorded(client.session.session_key or "")


def admin_token(user: AbstractBaseUser) -> str:
    """Sign `user` in. Return a token such as the live page gets."""
    return tokens.mint_admin(login(user))
