"""`runserver` with the server that pods run, so that development behaves like production."""

from messaging_site.server.server import Server  # isort: skip  before daphne's: it chooses the event loop
from daphne.management.commands.runserver import Command as DaphneCommand


class Command(DaphneCommand):
    server_cls = Server
