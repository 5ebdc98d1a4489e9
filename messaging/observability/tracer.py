"""What a message does, as spans of one trace. This one does nothing: it runs unless OTEL_… says where spans go."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

_NOTHING = nullcontext()


class Tracer:
    """One per process. `trace`: a W3C `traceparent`, empty where there is none."""

    def served(self, frame: str | bytes) -> AbstractContextManager[None]:
        """Around serving a client's frame: a span, if it is a message."""
        return _NOTHING

    def trace(self) -> str:
        """Of the message that is served here, for whoever goes on with it."""
        return ""

    def delivered(self, trace: str, receivers: int) -> AbstractContextManager[None]:
        """Around handing a message of that trace to so many sockets."""
        return _NOTHING

    def http(self, application: Any) -> Any:
        """An ASGI application for HTTP, with a span around each request."""
        return application

    def flush(self) -> None:
        """Send what was kept back; called where the process may stop running afterwards."""

    def close(self) -> None:
        """Send what was kept back, then stop."""
