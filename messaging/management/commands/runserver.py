"""`runserver` with the server that pods run, so that development behaves like production."""

from messaging_site.server.server import Server  # isort: skip  before daphne's: it chooses the event loop
from typing import Any

from daphne.management.commands.runserver import Command as DaphneCommand
from django.conf import settings
from django.core.management import CommandError, CommandParser

from messaging.operations.lan import NoNetwork, in_terminal, is_own, own_address
from messaging.pages.visitors_url import PATH

DETECT = "1"


class Command(DaphneCommand):
    server_cls = Server

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--lan",
            metavar="ADDRESS",
            help=(
                "Listen on this machine's address in the local network instead, and print it with its QR code: phones "
                f"on the same Wi-Fi can then open the site. {DETECT}: find the address."
            ),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["lan"]:
            _, _, port = (options["addrport"] or self.default_port).rpartition(":")
            address = _address(options["lan"])
            options["addrport"] = f"{address}:{port}"
            site = f"http://{address}:{port}"
            settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, address]
            settings.VISITORS_URL = settings.VISITORS_URL or f"{site}{PATH}"
            self._lan = f"On this Wi-Fi, visitors open {settings.VISITORS_URL}\n{in_terminal(settings.VISITORS_URL)}"
            self._lan += f"Staff open {site}/admin/live/?view=stage or {site}/admin/live/\n"
        super().handle(*args, **options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        if options["lan"]:
            self.stdout.write(self._lan)
        super().inner_run(*args, **options)


def _address(given: str) -> str:
    """Return the IPv4 address to listen on. Raise CommandError if there is none."""
    try:
        address = own_address() if given == DETECT else given
    except NoNetwork as error:
        raise CommandError(
            f"This machine is in no network ({error}). Connect it to the Wi-Fi of the phones; or, if it is a hotspot "
            "itself, give its own address there: make run LAN=192.168.137.1"
        ) from error
    if not is_own(address):
        raise CommandError(f"LAN={given!r} must be {DETECT}, or an IPv4 address of this machine such as 192.168.137.1")
    return address
