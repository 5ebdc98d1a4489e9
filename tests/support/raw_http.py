"""HTTP requests written byte by byte."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.deployments import Pod
from tests.support.services import HOST


@contextlib.asynccontextmanager
async def asked(
    pod: Pod, request: bytes, *, limit: int = 8192
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection with small buffers, send `request` on it, and stop reading at twice `limit` bytes."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # the kernel buffers little for small segments
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, (HOST, pod.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=limit)
    with contextlib.closing(writer):
        writer.write(request)
        await writer.drain()
        yield reader, writer


def largest_file(pod: Pod) -> tuple[str, bytes]:
    """Return the path on the site, and the content, of the largest static file."""
    root = Path(pod.environment["STATIC_ROOT"])
    file = max((path for path in root.rglob("*.*") if path.is_file()), key=lambda path: path.stat().st_size)
    return f"/static/{file.relative_to(root)}", file.read_bytes()
