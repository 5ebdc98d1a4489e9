"""The product's settings, but sockets that nobody answers on are given up within seconds instead of 40."""

from messaging_site.settings import *  # noqa: F403

PING_SECONDS = 5
