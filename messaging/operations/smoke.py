"""The trip of `messaging_smoke`: the browsers of a visitor and of staff, through any proxy in front of the servers."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from html import unescape
from http.client import HTTPException
from http.cookiejar import CookieJar
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener

from websockets.exceptions import WebSocketException

from messaging.client.frames import Frame, identify, new_id, send_message
from messaging.client.socket import Credentials, Socket, connect

CONFIGURATION = re.compile(r'<script id="messaging-config" type="application/json">(.*?)</script>', re.DOTALL)
FORM_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
FILES = re.compile(r'<(?:script|link)\b[^>]*\b(?:src|href)="([^"]+)"')
OWN_AUTHORITY = "to trust your own certificate authority, set SSL_CERT_FILE=ca.pem"
LOGIN, LIVE, TOKEN, LOGOUT = "/admin/login/", "/admin/live/", "/admin/live/token/", "/admin/logout/"


class SmokeFailed(Exception):
    """A step failed; the text says how."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page after all redirects. `url`: its final address."""

    url: str
    text: str

    @property
    def websocket_url(self) -> str:
        url: str = json.loads(self._found(CONFIGURATION))["webSocketUrl"]
        return url

    @property
    def form_token(self) -> str:
        return self._found(FORM_TOKEN)

    @property
    def files(self) -> list[str]:
        """The URLs of the page's scripts and styles."""
        links = [unescape(link) for link in FILES.findall(self.text)]
        return [urljoin(self.url, link) for link in links if not link.startswith("data:")]

    def _found(self, pattern: re.Pattern[str]) -> str:
        found = pattern.search(self.text)
        if found is None:
            raise SmokeFailed(f"{self.url} is not a page of this product: {pattern.pattern} was not found in it")
        return found[1]


class Browser:
    """The browser of one person: pages, forms and cookies. Its methods raise SmokeFailed."""

    def __init__(self, site: str, timeout: float) -> None:
        parts = urlsplit(site)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._timeout = timeout
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> Page:
        return self._request(path, None)

    def load(self, page: Page) -> None:
        """Get every script and style of `page`."""
        for file in page.files:
            self.get(file)

    def post(self, path: str, page: Page, **form: str) -> Page:
        """Submit a form of `page` to `path` and return the answer."""
        return self._request(path, urlencode({"csrfmiddlewaretoken": page.form_token} | form).encode())

    def log_in(self, username: str, password: str) -> Page:
        """Log in with a staff account and return its live page."""
        live = self.post(LOGIN, self.get(LOGIN), username=username, password=password, next=LIVE)
        if urlsplit(live.url).path != LIVE:
            raise SmokeFailed(f"{username} could not log in at {live.url}: wrong password, or not a staff account")
        return live

    def credentials(self, live: Page) -> Credentials:
        """Return the token and the pass of the live page for one WebSocket."""
        answer: dict[str, str] = json.loads(self.post(TOKEN, live).text)
        return Credentials(answer["token"], answer.get("pass", ""))  # a site of an earlier version has no pass

    def log_out(self, live: Page) -> None:
        self.post(LOGOUT, live)

    def _request(self, path: str, data: bytes | None) -> Page:
        url = urljoin(self.origin, path)
        request = Request(url, data, {"Origin": self.origin} if data else {})  # noqa: S310  the command allows http(s)
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return Page(answer.url, answer.read().decode(errors="replace"))
        except HTTPError as error:
            with error:
                raise SmokeFailed(f"{error.url} answered {error.code} {error.reason}") from error
        except URLError as error:
            hint = f" ({OWN_AUTHORITY})" if isinstance(error.reason, ssl.SSLCertVerificationError) else ""
            raise SmokeFailed(f"{url}: {error.reason}{hint}") from error
        except (OSError, HTTPException) as error:
            raise SmokeFailed(f"{url}: {error!r}") from error


class SmokeSocket:
    """The WebSocket of one person. Its methods raise SmokeFailed."""

    def __init__(self, socket: Socket, patience: float) -> None:
        self._socket = socket
        self._patience = patience

    async def ask(self, frame: Frame, answer: str) -> Frame:
        """Send a frame; return its answer, which has the type `answer`."""
        try:
            await self._socket.send(frame)
        except WebSocketException as error:
            raise SmokeFailed(f"the WebSocket ended: {error}") from error
        return await self.until(type=answer, id=frame["id"])

    async def until(self, **fields: str) -> Frame:
        """Return the next frame with these fields, skipping any other frame but an error, which raises SmokeFailed."""
        try:
            async with asyncio.timeout(self._patience):
                while not fields.items() <= (frame := await self._socket.receive()).items():
                    if frame["type"] == "error":
                        raise SmokeFailed(f"the server answered {frame['code']}: {frame['error']}")
                return frame
        except TimeoutError:
            raise SmokeFailed(f"no {fields['type']} frame within {self._patience:g} s") from None
        except WebSocketException as error:
            raise SmokeFailed(f"the WebSocket ended: {error}") from error


@dataclass(frozen=True, slots=True)
class Step:
    """A step that succeeded. `degraded`: not as well as it should."""

    text: str
    degraded: bool = False


async def trip(site: str, username: str, password: str, patience: float) -> AsyncIterator[Step]:
    """Yield each step that succeeded. `patience`: seconds for each answer. Raise SmokeFailed if a step fails.

    The trip leaves one conversation in the journal, whose messages say that they are a test. It logs out at the end.
    """
    # A Browser blocks the event loop, so it loads nothing while a WebSocket is open.
    visitor, staff = Browser(site, patience), Browser(site, patience)
    page = visitor.get("/")
    visitor.load(page)
    yield Step(f"the visitor's page at {page.url}")
    live = staff.log_in(username, password)
    try:
        staff.load(live)
        token, with_pass = staff.credentials(live)
        yield Step(f"the live page at {live.url}, as {username}")
        async with AsyncExitStack() as stack:
            at_staff = await _connected(stack, live, staff, patience, with_pass)
            identified = [await at_staff.ask(identify("admin", id=new_id(), token=token), "identified")]
            at_visitor = await _connected(stack, page, visitor, patience)
            identified.append(await at_visitor.ask(identify("user", id=new_id()), "identified"))
            conversation = identified[1]["conversation"]
            yield Step(f"both WebSockets at {page.websocket_url}")
            if not all("presence" in frame for frame in identified):  # the one field that needs the store
                yield Step("the connection store (Redis) does not answer: messages may be seconds late", degraded=True)
            await _said(at_visitor, at_staff, "Test of this installation: please don't answer.")
            yield Step("a message from the visitor to the live page")
            await _said(at_staff, at_visitor, "Test of this installation: this is the answer.", to=conversation)
            yield Step("a message from the live page to the visitor")
    except SmokeFailed:
        with suppress(SmokeFailed):  # report the first failure
            staff.log_out(live)
        raise
    staff.log_out(live)


async def _connected(
    stack: AsyncExitStack, page: Page, browser: Browser, patience: float, with_pass: str = ""
) -> SmokeSocket:
    opening = connect(page.websocket_url, origin=browser.origin, patience=patience, with_pass=with_pass)
    try:
        return SmokeSocket(await stack.enter_async_context(opening), patience)
    except (WebSocketException, OSError) as error:
        raise SmokeFailed(f"{page.websocket_url}: {error}") from error


async def _said(sender: SmokeSocket, receiver: SmokeSocket, content: str, **fields: str) -> None:
    ack = await sender.ask(send_message(content, **fields), "ack")
    await receiver.until(type="message", messageId=ack["messageId"], content=content)
