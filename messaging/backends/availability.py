"""The availability of backends: logged once when one goes down and once when it is back, not at every attempt."""

import logging
from weakref import WeakSet

from messaging.service.contracts import StoreUnavailable

_all: "WeakSet[Availability]" = WeakSet()


def states() -> dict[str, bool]:
    """Return, by purpose, whether each backend of this process answered the last request."""
    return {one.purpose: one.up for one in _all}


class Availability:
    """The availability of one client's backend.

    `backend`, `purpose`: for log messages such as "Redis down for limits". `logger`: the client's.
    """

    def __init__(self, backend: str, purpose: str, logger: logging.Logger) -> None:
        self._backend = backend
        self._logger = logger
        self.purpose = purpose
        self.up = True
        _all.add(self)

    def answered(self) -> None:
        if not self.up:
            self.up = True
            self._logger.info("%s up for %s", self._backend, self.purpose)

    def failed(self, error: Exception) -> StoreUnavailable:
        """Note that a request has failed. Return the error that the caller must raise."""
        if self.up:
            self.up = False
            self._logger.warning("%s down for %s", self._backend, self.purpose, extra={"error": repr(error)})
        return StoreUnavailable(f"{self._backend}: {error!r}")
