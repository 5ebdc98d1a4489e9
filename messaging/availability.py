"""Whether a backend answers: the log is told once when it goes down and once when it is back, not at every try."""

import logging

from messaging.contracts import StoreUnavailable


class Availability:
    """Of one client. `backend`, `purpose`: for the log, as in "Redis down for limits"; `logger`: the client's."""

    def __init__(self, backend: str, purpose: str, logger: logging.Logger) -> None:
        self._backend = backend
        self._purpose = purpose
        self._logger = logger
        self._up = True

    def answered(self) -> None:
        if not self._up:
            self._up = True
            self._logger.info("%s up for %s", self._backend, self._purpose)

    def failed(self, error: Exception) -> StoreUnavailable:
        """What its caller is to raise."""
        if self._up:
            self._up = False
            self._logger.warning("%s down for %s", self._backend, self._purpose, extra={"error": repr(error)})
        return StoreUnavailable(f"{self._backend}: {error!r}")
