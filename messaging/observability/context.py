"""The ids of the connection, request and frame that the running code serves, so that log calls need not pass them.

Each connection and each request runs in its own context, so interleaved ones never see each other's ids. Pure.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

_NONE: Mapping[str, str] = MappingProxyType({})
_bound: ContextVar[Mapping[str, str]] = ContextVar("messaging", default=_NONE)


def bind(**ids: str | None) -> None:
    """Set `ids` in the current context; None removes an id."""
    kept = {**_bound.get(), **ids}
    _bound.set({name: id for name, id in kept.items() if id is not None})


def bound() -> Mapping[str, str]:
    """Return the ids of the current context, by name."""
    return _bound.get()
