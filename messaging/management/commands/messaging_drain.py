"""`messaging_drain`: what a pod's preStop hook and an operator call before a process stops."""

import time
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Drain the server on this machine: clients are sent elsewhere, what is under way is finished, it ends."

    def handle(self, *args: Any, **options: Any) -> None:
        probes = f"http://127.0.0.1:{settings.HEALTH_CHECK_PORT}"
        try:
            urlopen(Request(f"{probes}/drain", method="POST"), timeout=5).close()  # noqa: S310  loopback
        except URLError as error:
            raise CommandError(f"No server answers on {probes}: {error.reason}") from error
        while True:
            try:
                urlopen(f"{probes}/health", timeout=5).close()  # noqa: S310
            except (URLError, ConnectionError):
                break
            time.sleep(0.2)
        self.stdout.write("The server has ended.")
