"""The product's settings, except that unresponsive sockets are closed within seconds instead of 40 s."""

from messaging_site.settings import *  # noqa: F403

PING_SECONDS = 5
