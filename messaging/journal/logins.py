"""The login sessions of staff, Django's own: the connections that were opened in a session end with it.

Tokens and connections name a session by its digest. Digests can't be looked up, so each session in which a token was
made is recorded here together with its digest.
"""

from collections.abc import Collection
from hashlib import sha256
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from messaging.models import LoginSession, display_name, public_name
from messaging.service.contracts import StaffMember, staff_id


def digest(session_key: str) -> str:
    """Return a name for a login session from which its key can't be derived.

    It needs no secret: a session's key has more than 160 random bits.
    """
    return sha256(f"messaging.session {session_key}".encode()).hexdigest()[:32]


def recorded(session_key: str) -> str:
    """Return the digest of a login session, and record it, so that `signed_in` finds the session."""
    login = LoginSession(digest=digest(session_key), session_key=session_key)
    LoginSession.objects.bulk_create([login], ignore_conflicts=True)
    return login.digest


def signed_in(digests: Collection[str]) -> dict[str, StaffMember]:
    """Return the active staff members who are signed in in these sessions, by digest, with their current rights."""
    sessions = _live_sessions(digests)
    key = get_user_model()._meta.pk
    users = {
        key.value_to_string(user): user
        for user in get_user_model()._default_manager.filter(pk__in={login[SESSION_KEY] for login in sessions.values()})
        if user.is_active and user.is_staff
    }
    members = {name: _member(user) for name, user in users.items()}
    return {
        name: members[login[SESSION_KEY]]
        for name, login in sessions.items()
        if login[SESSION_KEY] in users and is_valid(login.get(HASH_SESSION_KEY), users[login[SESSION_KEY]])
    }


def is_valid(session_hash: str | None, user: AbstractBaseUser) -> bool:
    """Return whether a session with this hash began with the present password of `user`, whichever key has signed it.

    Django's `get_user` applies the same rule to each page request.
    """
    hashes = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    return session_hash is not None and any(constant_time_compare(session_hash, each) for each in hashes)


def _live_sessions(digests: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the content of these sessions, by digest, without those that ended and those in which no one is signed in.

    One query finds them, so the sessions have to be in the database (messaging/checks.py).
    """
    store = session_store()
    keys = LoginSession.objects.filter(digest__in=digests).values("session_key")
    live = store.get_model_class().objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    found = {digest(key): store().decode(data) for key, data in live.values_list("session_key", "session_data")}
    backends = settings.AUTHENTICATION_BACKENDS
    return {
        name: login
        for name, login in found.items()
        if login.get(BACKEND_SESSION_KEY) in backends and SESSION_KEY in login
    }


def session_store() -> type[SessionStore]:
    """Return the class of SESSION_ENGINE, which has to keep sessions in the database."""
    store: type[SessionStore] = import_module(settings.SESSION_ENGINE).SessionStore
    return store


def _member(user: Any) -> StaffMember:
    return StaffMember(
        id=staff_id(user.pk),
        name=display_name(user),
        author=public_name(user),
        may_view=user.has_perm("messaging.view_message"),
        may_reply=user.has_perm("messaging.add_message"),
        may_manage=user.has_perm("messaging.change_conversation"),
        may_block=user.has_perm("messaging.add_block"),
        may_unblock=user.has_perm("messaging.delete_block"),
    )
