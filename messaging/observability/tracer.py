"""The path of a message, as spans of one trace. This tracer does nothing; it serves unless OTEL_… names a collector."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

_NOTHING = nullcontext()


class Tracer:
    """The tracer of a process. `trace`: a W3C `traceparent`, empty if there is none."""

    def served(self, frame: str | bytes) -> AbstractContextManager[None]:
        """Return a context for serving a client's frame: a span if the frame sends a message."""
        return _NOTHING

    def trace(self) -> str:
        """Return the trace of the message that is being served, for the processes that deliver it."""
        return ""

    def delivered(self, trace: str, receivers: int) -> AbstractContextManager[None]:
        """Return a context for handing a message of `trace` to `receivers` sockets."""
        return _NOTHING

    def http(self, application: Any) -> Any:
        """Return `application`, an ASGI application for HTTP, with a span around each request."""
        return application

    def flush(self) -> None:
        """Send buffered spans; called when the process may be suspended afterwards."""

    def close(self) -> None:
        """Send buffered spans, then stop."""
