"""The reason for which the channel layer is down, if channels-redis only logs it: Redis has refused a subscription.

It logs a traceback with each attempt, once a second while Redis is down. The hub logs the reason once instead.
"""

import logging

from messaging.backends.availability import reason


class Swallowed:
    """The last error that channels-redis has swallowed. `reason`: one line; "" if there is none."""

    reason = ""


swallowed = Swallowed()


class Handler(logging.Handler):
    """The handler of channels-redis' log (messaging_site/conf/logs.py)."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            swallowed.reason = reason(record.exc_info[1])
