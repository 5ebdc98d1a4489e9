"""The interface through which transports and the journal report metrics: one method per kind of event."""

import time
from collections.abc import Sequence
from typing import Literal

from messaging.observability import metrics
from messaging.observability.recorder import Recorder
from messaging.protocol import frames
from messaging.service.actions import Action, Connection, Publish, Refusal, Reply
from messaging.service.contracts import Cursor


class Meter:
    """The meter of a process. `recorder`: the destination of its measurements."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def opened(self, refusal: Refusal | Literal["origin"] | None) -> None:
        """Count a new WebSocket. `refusal`: why it was refused, or None."""
        self.recorder.count(metrics.CONNECTS, "address" if refusal == "connections" else refusal or "accepted")
        if refusal and refusal != "origin":
            self.recorder.count(metrics.REFUSALS, "server" if refusal == "full" else refusal)

    def closed(self, connection: Connection, code: int, seconds: float) -> None:
        """Record the end of `connection` with the close code `code`, after `seconds`."""
        self.recorder.count(metrics.DISCONNECTS, connection.role or metrics.NOBODY, metrics.close_code(code))
        self.recorder.observe(metrics.CONNECTION_SECONDS, seconds)

    def answered(self, connection: Connection, actions: Sequence[Action], seconds: float) -> None:
        """Record that the service answered a frame with `actions` after `seconds`."""
        duplicate = written = False
        for action in actions:
            match action:
                case Reply(frames.Ack(duplicate=duplicate)):
                    pass
                case Publish(frame=frames.Message()):
                    written = True
                case Reply(frames.Error(code=code, scope=scope)):
                    self.recorder.count(metrics.ERRORS, str(code))
                    if scope is not None:
                        self.recorder.count(metrics.REFUSALS, scope)
                case Reply(frames.Identified(recovered=bool(recovered))) if connection.resuming:
                    self.recorder.count(metrics.RESUMES, "ok" if recovered else "gap")
        if written:  # only `sendMessage` leads to a published message
            result = "duplicate" if duplicate else "accepted"
            self.recorder.count(metrics.MESSAGES, connection.role or metrics.ROLES[0], result)
            self.recorder.observe(metrics.ACK_SECONDS, seconds)

    def responded(self, status: int, seconds: float) -> None:
        """Record an HTTP answer with `status`, finished `seconds` after its request."""
        self.recorder.observe(metrics.HTTP_SECONDS, seconds, f"{status // 100}xx")

    def committed(self, messages: int, seconds: float) -> None:
        """Record a finished transaction of the journal, with the number of its messages and its duration."""
        self.recorder.observe(metrics.COMMIT_MESSAGES, messages)
        self.recorder.observe(metrics.COMMIT_SECONDS, seconds)

    def delivered(self, cursor: str) -> None:
        """Record that the message at `cursor` was handed to all its receivers in this process."""
        if (place := Cursor.parse(cursor)) is not None:
            self.recorder.observe(metrics.DELIVERY_SECONDS, max(0.0, time.time() - place.ms / 1000))

    def caught_up(self, messages: int) -> None:
        """Count `messages` that were found in the journal and that no hint had announced."""
        self.recorder.count(metrics.CATCH_UPS, by=messages)

    def dropped(self, reason: Literal["outbox", "stalled", "hint"]) -> None:
        self.recorder.count(metrics.DROPS, reason)

    def publish_failed(self) -> None:
        self.recorder.count(metrics.LAYER_ERRORS)

    def foreign(self) -> None:
        """Count a bundle of hints from a process with another journal."""
        self.recorder.count(metrics.FOREIGN)
