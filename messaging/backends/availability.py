"""Whether a backend answers: the log is told once when it goes down and once when it is back, not at every try."""

import logging
from weakref import WeakSet

from messaging.service.contracts import StoreUnavailable

_all: "WeakSet[Availability]" = WeakSet()


def states() -> dict[str, bool]:
    """Whether each backend of this process gave its last answer, by purpose."""
    return {one.purpose: one.up for one in _all}


class Availability:
    """Of one client. `backend`, `purpose`: for the log, as in "Redis down for limits"; `logger`: the client's."""

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
        """What its caller is to raise."""
        if self.up:
            self.up = False
            self._logger.warning("%s down for %s", self._backend, self.purpose, extra={"error": repr(error)})
        return StoreUnavailable(f"{self._backend}: {error!r}")
