"""`messaging_operator`, which creates the first account on a machine that has none yet."""

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db.models import EmailField


class Command(BaseCommand):
    help = (
        "Create a superuser named operator (operator@localhost if accounts log in with an e-mail address) with a "
        "random password, printed once, unless there is a superuser."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.OUTPUT_IS_LOGGED:
            raise CommandError(
                "This would leave the password in the function's log. Use createsuperuser instead (docs/aws.md)."
            )
        model = get_user_model()
        users: Any = model._default_manager
        if users.filter(is_superuser=True).exists():
            return
        if more := set(model.REQUIRED_FIELDS) - {model.get_email_field_name()}:
            raise CommandError(f"A {model.__name__} also needs {', '.join(sorted(more))}: use createsuperuser instead.")
        is_address = isinstance(model._meta.get_field(model.USERNAME_FIELD), EmailField)
        name = "operator@localhost" if is_address else "operator"
        password = secrets.token_urlsafe(12)
        users.create_superuser(**{model.USERNAME_FIELD: name, "password": password})
        self.stdout.write(f"\n  Log in at /admin/ as  {name}  with the password  {password}\n  (shown only once)\n")
