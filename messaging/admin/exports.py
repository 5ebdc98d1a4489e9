"""Admin actions that export the messages of the chosen objects as a file."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import admin, messages
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from messaging.models import Message
from messaging.observability import audit
from messaging.operations.export import FORMATS, pages, written
from messaging.service.contracts import staff_id

MOST = 10_000  # messages per file: the server ends an answer after 30 s, and a cut-off file would look complete


class ExportActions:
    """The actions for an admin of messages, or of objects that have messages."""

    def messages_of(self, chosen: QuerySet[Any]) -> QuerySet[Message]:
        raise NotImplementedError

    def note_export(self, request: HttpRequest, chosen: QuerySet[Any], note: str) -> None:
        """Record the export in Django's log, with the text `note`."""
        raise NotImplementedError

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.view_message")

    @admin.action(description=gettext_lazy("Export as CSV"), permissions=("export",))
    def export_csv(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponseBase | None:
        return self._export(request, chosen, "csv")

    @admin.action(description=gettext_lazy("Export as JSON"), permissions=("export",))
    def export_json(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponseBase | None:
        return self._export(request, chosen, "json")

    def _export(self, request: HttpRequest, chosen: QuerySet[Any], format: str) -> HttpResponseBase | None:
        wanted = self.messages_of(chosen)
        count = wanted.order_by()[: MOST + 1].count()
        if count > MOST:
            text = gettext("More than %(most)d messages: choose fewer, or use the messaging_export command.")
            messages.error(request, text % {"most": MOST})
            return None
        self.note_export(request, chosen, gettext("Exported as %(format)s.") % {"format": format.upper()})
        audit.note("messages exported", staff=staff_id(request.user.pk), messages=count, format=format)
        parts = written(pages(wanted), FORMATS[format])
        response = StreamingHttpResponse(
            _in_turns(parts) if isinstance(request, ASGIRequest) else parts,
            content_type=FORMATS[format].content_type,
        )
        response["Content-Disposition"] = f'attachment; filename="messages-{timezone.now():%Y-%m-%d-%H%M}.{format}"'
        return response


async def _in_turns(parts: Iterator[str]) -> AsyncIterator[str]:
    """Yield `parts`, each made without blocking the event loop: Django would make all of them before sending one."""
    make = sync_to_async(lambda: next(parts, None))
    while (part := await make()) is not None:
        yield part
