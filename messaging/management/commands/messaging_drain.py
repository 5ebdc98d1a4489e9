"""`messaging_drain`, which an operator runs before a process stops, or to send a gateway's clients elsewhere."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from messaging.runtime import runtime
from messaging.transports.base import NotDrained
from messaging_site.conf.env import stop_on_bad_configuration


class Command(BaseCommand):
    help = (
        "Drain the server on this machine: it sends its clients elsewhere, finishes its work and stops. On AWS: send "
        "all clients of the WebSocket API to wherever its name points now; no process stops."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if runtime.holder.probes:
            stop_on_bad_configuration("MESSAGING_HOST", "HEALTH_CHECK_PORT")
        try:
            self.stdout.write(runtime.holder.drain())
        except NotDrained as error:
            raise CommandError(str(error)) from error
