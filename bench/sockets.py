"""The load generator's connections, and the tally of the frames that they receive."""

import asyncio
import re
import time
from dataclasses import dataclass, field

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from messaging.client.frames import Frame, decode, encode, identify, kind, send_message

MARK = re.compile(rb"bench-(\d+)-(\d+)")  # begins every content and is every ID: numbers of trial and message
PADDING = "x" * 100
READ_BUFFER = 2048  # bytes; there are up to 10,000 sockets


@dataclass
class Tally:
    """The counts and times of one trial. `capacity`: the most messages it sends; `until`: the end of a closed loop."""

    number: int
    admins: int
    capacity: int
    until: float = 0.0
    due: list[float] = field(default_factory=list)  # when each message was due
    deliveries: list[float] = field(default_factory=list)
    acks: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    twice: int = 0
    errors: int = 0
    heard: float = 0.0

    def __post_init__(self) -> None:
        self.seen = [bytearray(self.capacity) for _ in range(self.admins)]

    @property
    def complete(self) -> bool:
        return len(self.deliveries) == len(self.due) * self.admins and len(self.acks) == len(self.due)

    def say(self, visitor: "Socket", due: float) -> None:
        """Send the next message of the trial from `visitor`."""
        mark = f"bench-{self.number}-{len(self.due):06d}"
        self.due.append(due)
        visitor.send(send_message(f"{mark} {PADDING}", id=mark))

    def take(self, socket: "Socket", payload: bytes) -> None:
        mark = MARK.search(payload)
        if mark is None or int(mark[1]) != self.number:
            return
        self.heard = now = time.monotonic()
        index = int(mark[2])
        type = kind(payload)
        if type == b"error":
            self.errors += 1
        elif type == b"ack":
            self.acks.append(now - self.due[index])
            if now < self.until and len(self.due) < self.capacity:
                self.say(socket, now)
        elif socket.admin is None:
            pass  # the visitor's own message, found in the journal by a server that lost the hint
        elif self.seen[socket.admin][index]:
            self.twice += 1
        else:
            self.seen[socket.admin][index] = 1
            self.deliveries.append(now - self.due[index])


class Socket(WSListener):
    """One connection. `admin`: the number of a staff connection, None for a visitor.

    `identity`: the fields of its identify frame, such as the token. The server's answer adds a visitor's token and
    cursor, to be sent when the visitor reconnects.
    """

    tally: Tally | None = None  # of all sockets
    closed = 0  # of all sockets
    transport: WSTransport | None = None

    def __init__(self, admin: int | None, identity: dict[str, str]) -> None:
        self.admin = admin
        self.identity = identity
        self.identified: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.send(identify("user" if self.admin is None else "admin", **self.identity))

    def send(self, frame: Frame) -> None:
        assert self.transport is not None
        self.transport.send(WSMsgType.TEXT, encode(frame).encode())

    def cut(self) -> None:
        """Close the connection without a close frame, as a broken network does."""
        if self.transport is not None:
            self.transport.disconnect(False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if not self.identified.done():
            self._identify(payload)
        elif Socket.tally is not None:
            Socket.tally.take(self, payload)

    def _identify(self, payload: bytes) -> None:
        type = kind(payload)
        if type == b"identified":
            if self.admin is None:
                answer = decode(payload)
                given = {"token": answer.get("token"), "since": answer.get("cursor")}
                self.identity |= {name: value for name, value in given.items() if value}
            self.identified.set_result(None)
        elif type == b"error":
            self.identified.set_exception(ConnectionError(payload.decode()))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        Socket.closed += 1
        if not self.identified.done():
            self.identified.set_exception(ConnectionError("the connection was closed before it was identified"))


async def connect(url: str, admin: int | None, identity: dict[str, str], patience: float) -> Socket:
    """Return a connection that the server has identified.

    Raise OSError (TimeoutError after `patience` seconds, ConnectionError) or WSError.
    """
    socket = Socket(admin, identity)
    try:
        async with asyncio.timeout(patience):
            await ws_connect(
                lambda: socket, url, websocket_handshake_timeout=patience, read_buffer_init_size=READ_BUFFER
            )
            await socket.identified
    except BaseException:
        socket.cut()
        raise
    return socket
