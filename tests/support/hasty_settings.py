"""The product's settings, with every timeout below a WebSocket so short that a test can stay idle for longer.

No process looks for messages that no hint announced, so every message that arrives was announced.
"""

from messaging_site.settings import *  # noqa: F403
from messaging_site.settings import CHANNEL_LAYERS, DATABASES, MESSAGING_STORE

SECONDS = 1

MESSAGING_STORE["OPTIONS"]["ttl"] = SECONDS
_layer = CHANNEL_LAYERS["default"]["CONFIG"]
_layer |= {"expiry": SECONDS, "group_expiry": SECONDS}  # options of channels-redis' other layer: this one has no expiry
_layer["hosts"][0] |= {"socket_timeout": SECONDS, "health_check_interval": SECONDS}
DATABASES["default"]["CONN_MAX_AGE"] = SECONDS
MESSAGING_CATCH_UP_SECONDS = 3600
