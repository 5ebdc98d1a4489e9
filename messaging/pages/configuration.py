"""The configuration that a page gives its script (`<script type="application/json" id="messaging-config">`)."""

from collections.abc import Mapping

from csp.decorators import csp_update
from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

# Our scripts insert only text, so browsers may forbid them anything else. Django admin's own scripts need more.
strict_scripts = csp_update({"require-trusted-types-for": ["'script'"], "trusted-types": ["'none'"]})

Texts = Mapping[str, str | Promise]

# The texts of a conversation on both pages (static/messaging/view.js). `failed_` is followed by an error code.
TEXTS: Texts = {
    "waiting": _("Waiting"),
    "limited": _("Slow down – next try in {seconds} s"),
    "sent": _("Sent"),
    "seen": _("Seen"),
    "failed": _("Not sent"),
    "failed_empty": _("Not sent: the message is empty"),
    "failed_too_long": _("Not sent: the message is too long"),
    "failed_not_storable": _("Not sent: this site can’t store one of the characters"),
    "failed_blocked": _("Not sent: you can’t send messages here at the moment"),
    "failed_forbidden": _("Not sent: this account may not reply"),
    "failed_not_found": _("Not sent: the conversation no longer exists"),
    "failed_expired": _("Not sent: it has waited for more than a day"),
    "copied": _("Copied"),
    "count": _("{count} of {limit} characters"),
    "full": _("Too many messages are waiting already. Please send this one later."),
}


def configuration(web_socket_url: str, texts: Texts = {}, **extra: object) -> dict[str, object]:  # noqa: B006
    """Return the values that both pages need, and `extra`, to be rendered with `json_script`.

    `texts`: the page's texts besides TEXTS, rendered in the language of the request; its script fills in each `{name}`.
    """
    return {
        "webSocketUrl": web_socket_url,
        "heartbeatMs": settings.MESSAGING_HEARTBEAT_MS,
        "language": get_language() or settings.LANGUAGE_CODE,
        "texts": {key: str(text) for key, text in {**TEXTS, **texts}.items()},
        **extra,
    }


def web_socket_url(request: HttpRequest) -> str:
    """Return the URL of the WebSocket for a page: the public one, or else that of the page's own host."""
    return settings.WEBSOCKET_PUBLIC_URL or f"{'wss' if request.is_secure() else 'ws'}://{request.get_host()}/ws"
