"""The people of a hall, who all have one address: visitors who load the page, connect and tap, and staff who sign in.

A visitor does what a browser does on a first visit: it loads the page and every file that the page or one of its
scripts names, over at most six connections that stay open, opens the WebSocket, identifies itself, asks for the history
and taps the first quick message. Nobody tries anything twice: the first refusal is the result.
"""

import asyncio
import contextlib
import gzip
import re
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from websockets.exceptions import ConnectionClosed, WebSocketException

from messaging.client.frames import Frame, identify, new_id, request, send_message
from messaging.client.socket import Credentials, Socket, connect
from messaging.operations.smoke import LOGIN, Browser, Page, SmokeFailed

Found = TypeVar("Found")

PATIENCE = 120.0  # seconds for one answer, after which a person gives up
REQUEST = "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\nAccept-Language: en\r\n\r\n"
AT_ONCE = 6  # connections of one browser to one site over HTTP/1.1
IMPORTED = re.compile(rb'\bfrom\s*"(\.[^"]+)"')  # by a script
HISTORY = 100  # messages: as many as the page asks for


class PageError(Exception):
    """A page or file that did not come; the text says which one, and why."""


class Refused(Exception):
    """A WebSocket that was closed, or a request that was answered with an error; the text is its code."""


@dataclass
class Visit:
    """The visit of one person. Times are in seconds; None: it did not come so far."""

    page: float | None = None  # from the first request to the last file
    connected: float | None = None  # from there to `identified` and the history; staff: from the login
    acked: float | None = None  # from the tap to its ack
    login: float | None = None  # of staff: from the login form to the live page with all its files
    failure: str = ""  # the page error, or the refusal


@dataclass
class Hall:
    """The outcome of a crowd. `visitors` and `staff`: one Visit for each person."""

    visitors: list[Visit] = field(default_factory=list)
    staff: list[Visit] = field(default_factory=list)

    @property
    def acked(self) -> int:
        return sum(visit.acked is not None for visit in self.visitors)

    @property
    def signed_in(self) -> int:
        return sum(visit.connected is not None for visit in self.staff)

    @property
    def page_errors(self) -> Counter[str]:
        return Counter(visit.failure for visit in self.visitors if visit.failure and visit.page is None)

    @property
    def refusals(self) -> Counter[str]:
        """The reasons why visitors with a complete page have no ack, and staff no live page."""
        failed = [visit for visit in self.visitors if visit.page is not None] + self.staff
        return Counter(visit.failure for visit in failed if visit.failure)


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts that sign in, each as often as it is named. All have the same password."""

    names: Sequence[str] = ()
    password: str = ""


async def come(site: str, people: int, within: float, accounts: Accounts = Accounts(), *, forget: bool = False) -> Hall:
    """Let `people` visitors come to `site`, evenly spread over `within` seconds, while the staff sign in.

    All of them stay until the last one is done. With `forget`, visitors then erase their messages.
    """
    hall, done = Hall(), asyncio.Barrier(people + len(accounts.names))

    async def arrives(delay: float) -> None:
        await asyncio.sleep(delay)
        hall.visitors.append(visit := Visit())
        async with contextlib.AsyncExitStack() as stack:
            socket = await _outcome(visit, _visitor(visit, site, stack))
            await done.wait()
            if forget and socket:
                await _outcome(visit, _ask(socket, request("forget")))

    async def signs_in(delay: float, name: str) -> None:
        await asyncio.sleep(delay)
        hall.staff.append(visit := Visit())
        browser = Browser(site, PATIENCE)
        async with contextlib.AsyncExitStack() as stack:
            live = await _outcome(visit, _staff(visit, browser, name, accounts.password, stack))
            await done.wait()
        if live:
            await asyncio.to_thread(browser.log_out, live)

    async with asyncio.TaskGroup() as group:
        for number in range(people):
            group.create_task(arrives(within * number / people))
        for number, name in enumerate(accounts.names):
            group.create_task(signs_in(within * number / len(accounts.names), name))
    return hall


async def _outcome(visit: Visit, work: Awaitable[Found]) -> Found | None:
    """Return the result of `work`. If it fails, note that in `visit`, and return None."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await work
    except (PageError, Refused, SmokeFailed) as failure:
        visit.failure = str(failure)
    except (WebSocketException, OSError) as failure:
        visit.failure = f"{type(failure).__name__}: {failure}"
    return None


async def _visitor(visit: Visit, site: str, stack: contextlib.AsyncExitStack) -> Socket:
    began = time.monotonic()
    page = await _loaded(site)
    visit.page = time.monotonic() - began
    socket = await _connected(stack, page.websocket_url, site)
    identified = await _ask(socket, identify("user", id=new_id(), lang="en"))
    await _ask(socket, request("history", limit=HISTORY))
    visit.connected = time.monotonic() - began - visit.page
    quick = identified["quick"][0]
    tapped = time.monotonic()
    await _ask(socket, send_message(quick["content"], quick=quick["key"]))
    visit.acked = time.monotonic() - tapped
    return socket


async def _staff(visit: Visit, browser: Browser, name: str, password: str, stack: contextlib.AsyncExitStack) -> Page:
    began = time.monotonic()

    def signed_in() -> tuple[Page, Credentials]:
        browser.load(browser.get(LOGIN))
        live = browser.log_in(name, password)
        browser.load(live)
        return live, browser.credentials(live)

    live, (token, with_pass) = await asyncio.to_thread(signed_in)
    visit.login = time.monotonic() - began
    socket = await _connected(stack, live.websocket_url, browser.origin, with_pass)
    await _ask(socket, identify("admin", id=new_id(), token=token))
    await _ask(socket, request("history", limit=HISTORY))
    visit.connected = time.monotonic() - began - visit.login
    stack.push_async_callback(_ended, asyncio.create_task(_listen(socket)))
    return live


async def _listen(socket: Socket) -> None:
    """Read what the live page would show, as a page that does not read would be closed."""
    with contextlib.suppress(WebSocketException):
        while True:
            await socket.receive()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _connected(stack: contextlib.AsyncExitStack, url: str, site: str, with_pass: str = "") -> Socket:
    opening = connect(url, origin=Browser(site, 0).origin, proxy=None, patience=PATIENCE, with_pass=with_pass)
    return await stack.enter_async_context(opening)


async def _ask(socket: Socket, frame: Frame) -> Frame:
    """Return the answer to `frame`. Raise Refused if the server refuses it, or the connection."""
    with contextlib.suppress(ConnectionClosed):  # the error frame that says why has arrived, and is read now
        await socket.send(frame)
    while True:
        try:
            answer = await socket.receive()
        except ConnectionClosed as error:
            raise Refused(f"close code {socket.close_code}") from error
        if answer["type"] == "error":
            raise Refused(answer["code"])
        if answer.get("id") == frame["id"] and answer["type"] != "message" and not answer.get("partial"):
            return answer


async def _loaded(site: str) -> Page:
    """Load the visitors' page with every file, as a browser with an empty cache does. Return it."""
    async with _Connections(site) as connections:
        page = Page(urljoin(site, "/user/"), (await connections.get("/user/")).decode())
        waiting, seen = [urlsplit(file).path for file in page.files], set[str]()
        while new := [path for path in dict.fromkeys(waiting) if path not in seen]:
            seen.update(new)
            files = await asyncio.gather(*map(connections.get, new))
            waiting = [
                urljoin(path, name.decode())
                for path, file in zip(new, files, strict=True)
                if path.endswith(".js")
                for name in IMPORTED.findall(file)
            ]
    return page


class _Connections:
    """The connections of one browser to a site, which stay open between requests."""

    def __init__(self, site: str) -> None:
        self._site = urlsplit(site)
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._opened: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "_Connections":
        return self

    async def __aexit__(self, *exception: object) -> None:
        for writer in self._opened:
            writer.close()

    async def get(self, path: str) -> bytes:
        """Return the body of the answer to a GET. Raise PageError if there is none, or another status than 200."""
        async with self._gate:
            try:
                reader, writer = self._idle.pop() if self._idle else await self._open()
                writer.write(REQUEST.format(path=path, host=self._site.netloc).encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, *lines = head.split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                body = await _body(reader, headers)
            except (OSError, asyncio.IncompleteReadError) as error:
                raise PageError(f"{path}: {type(error).__name__}: {error}") from error
            if headers.get("connection") != "close":
                self._idle.append((reader, writer))
        if " 200 " not in status:
            raise PageError(f"{path}: {status}")
        return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        secure = self._site.scheme == "https"
        port = self._site.port or (443 if secure else 80)
        context = ssl.create_default_context() if secure else None
        reader, writer = await asyncio.open_connection(self._site.hostname, port, ssl=context)
        self._opened.append(writer)
        return reader, writer


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body
