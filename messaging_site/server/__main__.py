"""`python -m messaging_site.server`: serve until SIGTERM or SIGINT."""

from messaging_site.server.server import main

main()
