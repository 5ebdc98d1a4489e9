"""`messaging_operator`, which creates the first account on a machine that has none yet."""

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Create a superuser named operator with a random password, printed once, unless there is a superuser."

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.OUTPUT_IS_LOGGED:
            raise CommandError(
                "This would leave the password in the function's log. Use createsuperuser instead (docs/aws.md)."
            )
        users = get_user_model().objects
        if users.filter(is_superuser=True).exists():
            return
        password = secrets.token_urlsafe(12)
        users.create_superuser("operator", password=password)
        self.stdout.write(f"\n  Log in at /admin/ as  operator  with the password  {password}\n  (shown only once)\n")
