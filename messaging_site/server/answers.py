"""The answers to HTTP requests that wait for their clients: bounded in all, and none for a client that reads nothing.

The application never waits for a client, except with an answer that is larger than any public one: it works on few
requests at once, so a few slow clients would keep all others from being served.
"""

import logging
from dataclasses import dataclass
from typing import Protocol

logger = logging.getLogger(__name__)

ANSWER_BYTES = 512 * 1024  # that wait for one client before the application waits with the rest of its answer
ANSWERS_BYTES = 4 * 1024 * 1024  # that wait for all clients; beyond it, those that read least are dropped
LOOK_SECONDS = 1  # between two looks at what was read
LEAST_BYTES = 4 * 1024  # that a client has to read in STALL_SECONDS (or the rest): 400 bytes a second
STALL_SECONDS = 10


class Reader(Protocol):
    """A connection whose client is to read an answer."""

    @property
    def unread(self) -> int:
        """The number of bytes that wait for the client."""

    def after_a_look(self) -> None:
        """Call `look` of the reader's Answers after LOOK_SECONDS."""

    def drop(self) -> None:
        """End the connection at once, with what waits for its client."""


@dataclass(slots=True)
class _Reading:
    held: int = 0  # bytes that waited at the last look, and those written since
    taken: int = 0  # bytes read since `seconds` was 0
    seconds: int = 0  # without LEAST_BYTES


class Answers:
    """The answers that wait for their clients. `limit`: bytes of all of them together."""

    def __init__(self, limit: int = ANSWERS_BYTES) -> None:
        self._limit = limit
        self._readings: dict[Reader, _Reading] = {}
        self._held = 0  # of all readings
        self._looking = False
        self._dropped = 0  # readers, since the last look, because too much waited

    def wrote(self, reader: Reader, size: int) -> None:
        """Note that `size` more bytes wait for `reader`."""
        reading = self._readings.get(reader)
        if reading is None:
            reading = self._readings[reader] = _Reading()
            if not self._looking:
                self._looking = True
                reader.after_a_look()
        reading.held += size
        self._held += size
        if self._held > self._limit:
            self._make_room(reader)

    def forget(self, reader: Reader) -> None:
        """Note that nothing waits for `reader` any more."""
        if (reading := self._readings.pop(reader, None)) is not None:
            self._held -= reading.held

    def look(self) -> None:
        """Drop the readers that have read too little for STALL_SECONDS."""
        self._update()
        if self._dropped:
            logger.warning("slow HTTP readers dropped: too much waited", extra={"readers": self._dropped})
            self._dropped = 0
        for reader, reading in list(self._readings.items()):
            if not reading.held:
                self.forget(reader)
            elif reading.taken >= LEAST_BYTES:
                reading.taken = reading.seconds = 0
            elif reading.seconds + LOOK_SECONDS >= STALL_SECONDS:
                logger.warning("HTTP reader stalled", extra={"bytes": reading.held})
                self._drop(reader)
            else:
                reading.seconds += LOOK_SECONDS
        self._looking = bool(self._readings)
        if self._looking:
            next(iter(self._readings)).after_a_look()

    def _update(self) -> None:
        for reader, reading in self._readings.items():
            taken = reading.held - reader.unread
            reading.held -= taken
            reading.taken += taken
            self._held -= taken

    def _make_room(self, writing: Reader) -> None:
        """Drop readers until a quarter of the limit is free: those that have read least for longest, then the largest.

        Never drop `writing`: what it has is new, and bounded by ANSWER_BYTES.
        """
        self._update()
        if self._held <= self._limit:
            return
        slowest = sorted(self._readings.items(), key=lambda item: (-item[1].seconds, -item[1].held))
        for reader, _ in slowest:
            if self._held <= self._limit * 3 // 4:
                break
            if reader is not writing:
                self._drop(reader)
                self._dropped += 1

    def _drop(self, reader: Reader) -> None:
        from messaging.runtime import runtime

        self.forget(reader)
        runtime.meter.dropped("stalled")
        reader.drop()
