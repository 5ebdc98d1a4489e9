"""What every page tells its script (`<script type="application/json" id="messaging-config">`)."""

from csp.decorators import csp_update
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import get_language

# Our scripts write text only, so the browser may refuse them everything else. Django admin's own need more.
strict_scripts = csp_update({"require-trusted-types-for": ["'script'"], "trusted-types": ["'none'"]})


def configuration(request: HttpRequest, **extra: object) -> dict[str, object]:
    """The values that both pages need, and `extra`; to be rendered with `json_script`."""
    return {
        "webSocketUrl": settings.WEBSOCKET_PUBLIC_URL or _own_web_socket_url(request),
        "heartbeatMs": settings.MESSAGING_HEARTBEAT_MS,
        "language": get_language() or settings.LANGUAGE_CODE,
        **extra,
    }


def _own_web_socket_url(request: HttpRequest) -> str:
    return f"{'wss' if request.is_secure() else 'ws'}://{request.get_host()}/ws"
