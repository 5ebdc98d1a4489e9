"""Hostile clients, in a process of their own: `python -m tests.support.attacker KIND PORT PATH TOKEN`.

A line on its standard input begins the attack, the next one ends it; the process answers each with a line when that is
done. An attack has begun when each of its clients has made its first attempt of many.
"""

import asyncio
import contextlib
import itertools
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator

from messaging.client.frames import encode, identify, new_id

HOST = "127.0.0.1"
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CONTINUATION, TEXT, PING = 0, 1, 9  # opcodes
FIN = 0x80
ESTABLISHED = 1  # the state of a connection that neither side has ended (tcp_states.h of Linux)
PAUSE_SECONDS = 0.05  # before a disconnected attacker reconnects: the attacks are on frames, not on handshakes


def frame(payload: bytes | dict[str, object], opcode: int = TEXT, fin: int = FIN) -> bytes:
    """Return a masked frame with a mask of zeros (RFC 6455 section 5.2). `fin`: 0 if more fragments follow."""
    data = payload if isinstance(payload, bytes) else encode(payload).encode()
    length = len(data)
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 65_536:
        size = bytes([0x80 | 126]) + length.to_bytes(2)
    else:
        size = bytes([0x80 | 127]) + length.to_bytes(8)
    return bytes([fin | opcode]) + size + b"\0\0\0\0" + data


async def opened(port: int) -> socket.socket:
    """Return a connection with the smallest receive buffer that the system allows.

    Its segments are small, so the server's kernel buffers little for it too: data that it does not read waits in the
    server.
    """
    raw = socket.socket()
    raw.setblocking(False)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    await asyncio.get_running_loop().sock_connect(raw, (HOST, port))
    return raw


async def connected(port: int, token: str = "") -> socket.socket:
    """Return a WebSocket that has sent its identify frame. Raise ConnectionError if its handshake is refused."""
    loop = asyncio.get_running_loop()
    raw = await opened(port)
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
    """Read until `text` has arrived or the connection ends."""
    received = b""
    while text not in received and (data := await asyncio.get_running_loop().sock_recv(raw, 65_536)):
        received += data


class Client:
    """One attacking client. `path`: of the largest file. `token`: of the visitor that it identifies as."""

    def __init__(self, port: int, path: str, token: str) -> None:
        self.port = port
        self.path = path
        self.token = token
        self.has_attacked = False

    async def attack_again_and_again(self, attack: "Attack") -> None:
        while True:
            with contextlib.suppress(OSError):
                await attack(self)
            await asyncio.sleep(PAUSE_SECONDS)


async def pour(client: Client, chunks: Iterator[bytes], *, reading: bool) -> None:
    """Send `chunks` as fast as the server takes them. Return, or raise OSError, when the server ends the connection."""
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
    """Request 60 messages of 2 kB 2,500 times, which is 300 MB, and read nothing."""
    request = frame({"action": "history", "id": "h", "limit": 60})
    await pour(client, (request for _ in range(2_500)), reading=False)


async def sender(client: Client) -> None:
    """Send 200 MB of messages of 8 kB, each of which waits for its commit."""

    def messages() -> Iterator[bytes]:
        for _ in range(25_000):
            content = "x" * 1000 + " " * 7000
            yield frame({"action": "sendMessage", "id": new_id(), "content": content})

    await pour(client, messages(), reading=True)


async def drip(client: Client) -> None:
    """Send a handshake byte by byte; many clients do so at once."""
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        raw.setblocking(False)
        await loop.sock_connect(raw, (HOST, client.port))
        for byte in HANDSHAKE:
            await loop.sock_sendall(raw, bytes([byte]))
            client.has_attacked = True
            await asyncio.sleep(0.5)


async def too_large(client: Client) -> None:
    """Send a frame of 64 KiB + 1 byte."""
    await pour(client, iter([frame(b"x" * (64 * 1024 + 1))]), reading=True)


async def deep(client: Client) -> None:
    """Send JSON nested 16,000 deep five times: the fifth closes the connection."""
    await pour(client, iter([frame(b"[" * 16_000)] * 5), reading=True)


async def protocol_pings(client: Client) -> None:
    """Send pings of the WebSocket protocol without end, 10,000 at a time."""
    await pour(client, iter(lambda: frame(b"", PING) * 10_000, None), reading=True)


async def pings_unread(client: Client) -> None:
    """Send pings of the WebSocket protocol without end, and read none of the pongs."""
    await pour(client, iter(lambda: frame(b"x" * 125, PING) * 500, None), reading=False)


async def ping_frames(client: Client) -> None:
    """Send the product's own ping frames without end."""
    await pour(client, iter(lambda: frame({"action": "ping", "id": "p"}) * 1_500, None), reading=True)


async def fragments(client: Client, payload: bytes) -> None:
    """Begin a message and never end it, with pings between its fragments."""
    more = frame(payload, CONTINUATION, fin=0) * 500 + frame(b"", PING)
    await pour(client, itertools.chain([frame(payload, fin=0)], itertools.repeat(more)), reading=True)


async def empty_fragments(client: Client) -> None:
    await fragments(client, b"")


async def short_fragments(client: Client) -> None:
    await fragments(client, b"x")


async def unread(client: Client, *, requests: int) -> None:
    """Request a file, `requests` times without a pause, and read nothing until the server ends the connection."""
    loop = asyncio.get_running_loop()
    request = f"GET {client.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with contextlib.closing(await opened(client.port)) as raw:
        # It blocks if the server stops reading, which is no reason to wait for ever.
        sending = asyncio.create_task(loop.sock_sendall(raw, request * requests))
        client.has_attacked = True
        try:
            while raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED:
                await asyncio.sleep(0.1)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def unread_file(client: Client) -> None:
    await unread(client, requests=1)


async def unread_files(client: Client) -> None:
    await unread(client, requests=1_000)


async def upload(client: Client, head: bytes, chunks: Iterable[bytes] = ()) -> None:
    """Send a request as fast as the server takes it, and read until the server ends the connection."""
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setblocking(False)
    await loop.sock_connect(raw, (HOST, client.port))
    with contextlib.closing(raw):
        reader = asyncio.create_task(read_all(raw))
        try:
            await loop.sock_sendall(raw, b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\n" + head)
            client.has_attacked = True
            for chunk in chunks:
                await loop.sock_sendall(raw, chunk)
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


async def not_found(client: Client) -> None:
    """Request a page that does not exist, again and again, without waiting for the answers."""
    request = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    loop = asyncio.get_running_loop()
    raw = await opened(client.port)
    with contextlib.closing(raw):
        reader = asyncio.create_task(read_all(raw))
        try:
            while not reader.done():
                await loop.sock_sendall(raw, request * 50)
                client.has_attacked = True
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


async def body(client: Client) -> None:
    """Send a body of 400 MB."""
    await upload(client, b"Content-Length: 400000000\r\n\r\n", itertools.repeat(b"x" * 65_536, 6_100))


async def endless_body(client: Client) -> None:
    """Send a chunked body that never ends."""
    await upload(client, CHUNKED, itertools.repeat(b"10000\r\n" + b"x" * 65_536 + b"\r\n"))


async def short_chunks(client: Client) -> None:
    """Send a body of 60 kB in chunks of one byte, but not its end."""
    await upload(client, CHUNKED, [b"1\r\nx\r\n" * 60_000])


async def trailers(client: Client) -> None:
    """Send the shortest headers after an empty body, but not their end."""
    await upload(client, CHUNKED, [b"0\r\n" + b"x\r\n" * 21_000])


async def headers(client: Client) -> None:
    """Send 499 headers, and no more."""
    await upload(client, b"".join(b"h%d:\r\n" % number for number in range(499)))


async def connections(client: Client) -> None:
    """Open a connection and stay silent, without reconnecting if the server ends it: handshakes are not attacked."""
    with contextlib.closing(await connected(client.port)) as raw:
        with contextlib.suppress(OSError):
            await read_until(raw, b'"identified"')
        client.has_attacked = True
        await asyncio.Event().wait()


Attack = Callable[[Client], Awaitable[None]]
ATTACKS: dict[str, tuple[Attack, int]] = {  # with the number of clients that attack at once
    "reader": (reader, 2),
    "sender": (sender, 1),
    "drip": (drip, 500),
    "too_large": (too_large, 1),
    "deep": (deep, 1),
    "protocol_pings": (protocol_pings, 2),
    "pings_unread": (pings_unread, 2),
    "ping_frames": (ping_frames, 2),
    "connections": (connections, 1_100),
    "empty_fragments": (empty_fragments, 2),
    "short_fragments": (short_fragments, 2),
    "unread_file": (unread_file, 300),
    "unread_files": (unread_files, 20),
    "not_found": (not_found, 20),
    "body": (body, 2),
    "endless_body": (endless_body, 2),
    "short_chunks": (short_chunks, 4),
    "trailers": (trailers, 20),
    "headers": (headers, 20),
}


async def main(kind: str, port: int, path: str, token: str) -> None:
    loop = asyncio.get_running_loop()
    attack, number = ATTACKS[kind]
    while await loop.run_in_executor(None, sys.stdin.readline):
        clients = [Client(port, path, token) for _ in range(number)]
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
