"""The ASGI application: HTTP to Django, /ws to the consumer."""

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "messaging_site.settings")
django_application = get_asgi_application()

from django.conf import settings  # noqa: E402  Django is set up above

from messaging.observability.http import measured  # noqa: E402
from messaging.operations import health  # noqa: E402
from messaging.runtime import runtime  # noqa: E402
from messaging.transports.channels.consumer import MessagingConsumer  # noqa: E402
from messaging.transports.client_address import drop_untrusted_headers  # noqa: E402
from messaging_site import page_connections, static_requests  # noqa: E402
from messaging_site.page_requests import in_turns  # noqa: E402

__all__ = ["application", "health"]

page_connections.share(settings.PAGE_REQUESTS)
pages = in_turns(django_application, settings.PAGE_REQUESTS)
http_application = runtime.tracer.http(measured(static_requests.served(pages)))
websocket_application = MessagingConsumer.as_asgi()
WEBSOCKET_PATHS = ("/ws", "/ws/") if settings.SERVICE_ROLE in ("all", "websocket") else ()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] in ("http", "websocket"):
        scope = drop_untrusted_headers(scope)
    match scope["type"]:
        case "websocket" if scope["path"] in WEBSOCKET_PATHS:
            await websocket_application(scope, receive, send)
        case "websocket":
            await receive()
            await send({"type": "websocket.close"})  # before accept: HTTP 403
        case "http" if settings.HEALTH_ON_APPLICATION_PORT and scope["path"] in health.PATHS:
            await health.application(scope, receive, send)
        case _:
            await http_application(scope, receive, send)
