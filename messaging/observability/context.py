"""Which connection, request and frame the running code serves: for the log, so that nobody has to hand them around.

Each connection and each request runs in a context of its own, so two that interleave never see each other's. Pure.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

_NONE: Mapping[str, str] = MappingProxyType({})
_bound: ContextVar[Mapping[str, str]] = ContextVar("messaging", default=_NONE)


def bind(**ids: str | None) -> None:
    """From now on, in this context, these are served; None: no longer any of that name."""
    kept = {**_bound.get(), **ids}
    _bound.set({name: id for name, id in kept.items() if id is not None})


def bound() -> Mapping[str, str]:
    """What this context serves, by name."""
    return _bound.get()
