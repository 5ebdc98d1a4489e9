"""Middlewares for headers without a Django setting, and for times in which two keys are in use."""

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.middleware import AuthenticationMiddleware, get_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from messaging.journal.logins import is_valid

PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"

GetResponse = Callable[[HttpRequest], HttpResponse]


def permissions_policy(get_response: GetResponse) -> GetResponse:
    """Return a middleware that denies pages the features they don't need, so that no injected script can use them."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Permissions-Policy"] = PERMISSIONS_POLICY
        response["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    return respond


class Authentication(AuthenticationMiddleware):
    """Django's own, except that a login that was signed with an old SECRET_KEY keeps its session.

    Django gives it a new session instead. While servers with either key are running, each of their answers would do
    that: other requests that the browser has sent meanwhile would be signed out, and so would open live pages.
    """

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        if settings.SECRET_KEY_FALLBACKS:
            request.user = SimpleLazyObject(lambda: _user(request))  # type: ignore[assignment]


def _user(request: HttpRequest) -> object:
    _renew(request.session)
    return get_user(request)


def _renew(session: SessionBase) -> None:
    """Sign the login in `session` with the present key. It is stored when something else in the session changes."""
    known = session.get(HASH_SESSION_KEY)
    user = get_user_model()._default_manager.filter(pk=session[SESSION_KEY]).first() if known else None
    if user is not None and is_valid(known, user):
        modified = session.modified
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.modified = modified
