from typing import Any

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_out
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _


class MessagingConfig(AppConfig):
    name = "messaging"
    verbose_name = _("Messaging")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from messaging import checks
        from messaging.observability import audit

        checks.register_all()
        audit.connect_all()
        user_logged_out.connect(_note_end_of_session)


def _note_end_of_session(request: HttpRequest, **_: Any) -> None:
    from messaging.models import EndedSession
    from messaging.tokens import session_digest

    if request.session.session_key:
        EndedSession.objects.get_or_create(digest=session_digest(request.session.session_key))
