"""Hostile clients, in a process of their own: `python -m tests.support.attacker KIND PORT TOKEN`.

A line on its standard input begins the attack, the next one ends it; it answers each with a line when that is done. An
attack has begun when each of its clients has done once what it will do over and over.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator

from messaging.client.frames import encode, identify, new_id

HOST = "127.0.0.1"
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, PING = 1, 9  # opcodes
PAUSE_SECONDS = 0.05  # before an attacker that was closed comes back: what is attacked are frames, not handshakes


def frame(payload: bytes | dict[str, object], opcode: int = TEXT) -> bytes:
    """A masked frame, with a mask of zeros (RFC 6455 section 5.2)."""
    data = payload if isinstance(payload, bytes) else encode(payload).encode()
    length = len(data)
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 65_536:
        size = bytes([0x80 | 126]) + length.to_bytes(2)
    else:
        size = bytes([0x80 | 127]) + length.to_bytes(8)
    return bytes([0x80 | opcode]) + size + b"\0\0\0\0" + data


async def connected(port: int, token: str = "") -> socket.socket:
    """A WebSocket that takes next to nothing: it has the smallest receive buffer that the system allows.

    The server's kernel takes little for it as well, as it does where segments are small: what it is sent and does not
    read has to wait in the server.
    """
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setblocking(False)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    await loop.sock_connect(raw, (HOST, port))
    await loop.sock_sendall(raw, HANDSHAKE)
    answer = await loop.sock_recv(raw, 12)
    if answer != b"HTTP/1.1 101":
        raw.close()
        raise ConnectionError(f"no WebSocket: {answer!r}")
    await loop.sock_sendall(raw, frame(identify("user", token=token or None)))
    return raw


async def read_all(raw: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(raw, 65_536):
        pass


async def read_until(raw: socket.socket, text: bytes) -> None:
    """Returns where the connection ends as well."""
    received = b""
    while text not in received and (data := await asyncio.get_running_loop().sock_recv(raw, 65_536)):
        received += data


class Client:
    """One of those who attack. `token`: of the visitor whose pages they are."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.token = token
        self.has_attacked = False

    async def attack_again_and_again(self, attack: "Attack") -> None:
        while True:
            with contextlib.suppress(OSError):
                await attack(self)
            await asyncio.sleep(PAUSE_SECONDS)


async def pour(client: Client, chunks: Iterator[bytes], *, reading: bool) -> None:
    """Send `chunks` as fast as they are taken, until there are no more or the server has enough."""
    loop = asyncio.get_running_loop()
    raw = await connected(client.port, client.token)
    reader = asyncio.create_task(read_all(raw)) if reading else None
    try:
        for chunk in chunks:
            await loop.sock_sendall(raw, chunk)
            client.has_attacked = True
        if reader is not None:
            await reader
        while True:  # until the server resets the connection
            await loop.sock_sendall(raw, chunk)
            await asyncio.sleep(0.1)
    finally:
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        raw.close()


async def reader(client: Client) -> None:
    """Asks 2,500 times for 60 messages of 2 kB, which are 300 MB, and reads nothing."""
    request = frame({"action": "history", "id": "h", "limit": 60})
    await pour(client, (request for _ in range(2_500)), reading=False)


async def sender(client: Client) -> None:
    """200 MB of messages of 8 kB, each of which waits for its commit."""

    def messages() -> Iterator[bytes]:
        for _ in range(25_000):
            content = "x" * 1000 + " " * 7000
            yield frame({"action": "sendMessage", "id": new_id(), "content": content})

    await pour(client, messages(), reading=True)


async def drip(client: Client) -> None:
    """One of many handshakes that come byte by byte."""
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        raw.setblocking(False)
        await loop.sock_connect(raw, (HOST, client.port))
        for byte in HANDSHAKE:
            await loop.sock_sendall(raw, bytes([byte]))
            client.has_attacked = True
            await asyncio.sleep(0.5)


async def too_large(client: Client) -> None:
    """A frame of 64 KiB + 1."""
    await pour(client, iter([frame(b"x" * (64 * 1024 + 1))]), reading=True)


async def deep(client: Client) -> None:
    """JSON nested 16,000 deep, five times: the fifth closes."""
    await pour(client, iter([frame(b"[" * 16_000)] * 5), reading=True)


async def protocol_pings(client: Client) -> None:
    """Pings of the WebSocket protocol, 10,000 in one segment, without end."""
    await pour(client, iter(lambda: frame(b"", PING) * 10_000, None), reading=True)


async def pings_unread(client: Client) -> None:
    """The same, from somebody who takes none of the pongs."""
    await pour(client, iter(lambda: frame(b"x" * 125, PING) * 500, None), reading=False)


async def ping_frames(client: Client) -> None:
    """Our own pings without end."""
    await pour(client, iter(lambda: frame({"action": "ping", "id": "p"}) * 1_500, None), reading=True)


async def connections(client: Client) -> None:
    """Open and silent. One that is refused does not come back: what is attacked are frames, not handshakes."""
    with contextlib.closing(await connected(client.port)) as raw:
        with contextlib.suppress(OSError):
            await read_until(raw, b'"identified"')
        client.has_attacked = True
        await asyncio.Event().wait()


Attack = Callable[[Client], Awaitable[None]]
ATTACKS: dict[str, tuple[Attack, int]] = {  # and how many clients do it at once
    "reader": (reader, 2),
    "sender": (sender, 1),
    "drip": (drip, 500),
    "too_large": (too_large, 1),
    "deep": (deep, 1),
    "protocol_pings": (protocol_pings, 2),
    "pings_unread": (pings_unread, 2),
    "ping_frames": (ping_frames, 2),
    "connections": (connections, 1_100),
}


async def main(kind: str, port: int, token: str) -> None:
    loop = asyncio.get_running_loop()
    attack, number = ATTACKS[kind]
    while await loop.run_in_executor(None, sys.stdin.readline):
        clients = [Client(port, token) for _ in range(number)]
        tasks = [asyncio.create_task(client.attack_again_and_again(attack)) for client in clients]
        while not all(client.has_attacked or task.done() for client, task in zip(clients, tasks, strict=True)):
            await asyncio.sleep(0.05)
        print("begun", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        for task in tasks:
            task.cancel()
        failed = [
            error for error in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(error, Exception)
        ]
        print(f"ended {failed}" if failed else "ended", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
