"""The availability of backends: logged once when one goes down and once when it is back, not at every attempt."""

import logging
from weakref import WeakSet

from messaging.service.contracts import StoreUnavailable

LONGEST = 300  # characters of a reason

_all: "WeakSet[Availability]" = WeakSet()


def states() -> dict[str, bool]:
    """Return, by purpose, whether each backend of this process answered the last request."""
    return {one.purpose: one.up for one in _all}


def moves() -> int:
    """Return how often backends of this process have left a server that had become read-only for another one."""
    return sum(one.moves for one in _all)


def reason(error: BaseException) -> str:
    """Return one line that says why a backend failed: the class of `error` and its text (redis-py's repr lacks it).

    The arguments of a refused command, which some servers repeat, are left out: those of AUTH are the password.
    """
    text = next(iter(str(error).splitlines()), "").partition(", with args beginning with")[0]
    return f"{type(error).__name__}: {text}"[:LONGEST] if text else type(error).__name__


class Availability:
    """The availability of one client's backend.

    `backend`, `purpose`: for log messages such as "Redis down for limits". `logger`: the client's.
    """

    def __init__(self, backend: str, purpose: str, logger: logging.Logger) -> None:
        self._backend = backend
        self._logger = logger
        self.purpose = purpose
        self.up = True
        self.moves = 0
        self.why = ""  # the reason of the last failure
        _all.add(self)

    def answered(self) -> None:
        if not self.up:
            self.up = True
            self._logger.info("%s up for %s", self._backend, self.purpose)

    def failed(self, error: Exception) -> StoreUnavailable:
        """Note that a request has failed. Return the error that the caller must raise."""
        self.why = reason(error)
        if self.up:
            self.up = False
            self._logger.warning("%s down for %s", self._backend, self.purpose, extra={"error": self.why})
        unavailable = self.unavailable()
        unavailable.__cause__ = error
        return unavailable

    def unavailable(self) -> StoreUnavailable:
        """Return the error for a request that is not even tried, with the reason of the last failure."""
        return StoreUnavailable(f"{self._backend}: {self.why}")
