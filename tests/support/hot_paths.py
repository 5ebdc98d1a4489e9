"""The everyday actions of people on an archive of any size, through the product's own code, and the SQL that they send.

Set up Django before you import this module.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from django.db.models import Count
from django.test import Client

from messaging import tokens
from messaging.journal import reader
from messaging.models import Conversation, Message
from messaging.protocol import frames
from messaging.runtime import runtime
from messaging.service.actions import Connection, Reply
from messaging.service.contracts import START, Cursor
from tests.support.archive import COMMON, RARE
from tests.support.logins import login
from tests.support.services import PATIENCE_SECONDS

Statement = tuple[str, Any]  # SQL, and its parameters
Path = Callable[[], Coroutine[Any, Any, None] | None]
Query = dict[str, str | int]

PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE")
AWAY = 3600  # seconds for which a client was away
STATUSES = ("open", "closed", "unread", "blocked")
LIVE, CONVERSATIONS, MESSAGES = "/admin/live/", "/admin/messaging/conversation/", "/admin/messaging/message/"


class Recorder:
    """A recorder of every statement that Django sends in this process, on any thread.

    `seconds`: the time that the database took for all of them.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._statements: list[Statement] | None = None
        connection_created.connect(self._watch)
        for opened in connections.all(initialized_only=True):
            self._watch(opened)

    @contextmanager
    def recorded(self) -> Iterator[list[Statement]]:
        found: list[Statement] = []
        self._statements = found
        try:
            yield found
        finally:
            self._statements = None

    def _watch(self, connection: Any, **_: Any) -> None:
        if self._record not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._record)

    def _record(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if self._statements is not None and sql.startswith(PLANNED):
            self._statements.append((sql, params))
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.seconds += time.perf_counter() - began


def explained(statement: Statement, options: str) -> list[Any]:
    """Return the lines of the statement's plan, or the plan as JSON. Changes of the statement are rolled back."""
    sql, params = statement
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN ({options}) {sql}", params)
        lines = [row[0] for row in cursor.fetchall()]
        transaction.set_rollback(True)
    return lines


class Everybody:
    """Visitors, staff and operators of an archive (tests/support/archive.py), each in an event loop or a browser.

    `paths`: their actions, by name. Most calls pick a conversation or a message at random.
    """

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.service, self.journal = runtime.service, runtime.journal
        by_size = Message.objects.order_by().values_list("conversation").annotate(size=Count("pk"))
        self._long = [str(id) for id, _ in by_size.order_by("-size")[:10]]
        self._short = [str(id) for id in Conversation.objects.order_by("id").values_list("pk", flat=True)[:1000]]
        self._sent = list(Message.objects.order_by("-seq")[5000:5500])
        self._browser = Client()
        self._browser.force_login(User.objects.get(username="operator"))
        self._operator = login(User.objects.get(username="operator"))
        self._admin = runner.run(self._identified_admin())
        self._changes = itertools.cycle(("claim", "release"))
        self._today = min(message.created_at for message in self._sent)
        self.paths = self._of_visitors() | self._of_admins() | self._of_the_journal() | self._of_operators()

    def run(self, name: str) -> None:
        done = self.paths[name]()
        if done is not None:
            self.runner.run(done)

    def _of_visitors(self) -> dict[str, Path]:
        return {
            "visitor: comes back (identified, then history)": lambda: self._come_back(self._short),
            "visitor: comes back to a thread of thousands": lambda: self._come_back(self._long),
            "visitor: resumes after an hour": self._resume,
            "visitor: pages back in a thread of thousands": lambda: self._page_back(as_admin=False),
            "visitor: reads": lambda: self._read("user"),
            "visitor: writes": self._write,
        }

    def _of_admins(self) -> dict[str, Path]:
        return {
            "live page: first load (identified, history, states)": self._first_load,
            "live page: pages back": lambda: self._ask_as_admin("history", before=self._cursor(), limit=100),
            "live page: resumes after an hour": self._resume_as_admin,
            "live page: one conversation": lambda: self._open(self._short),
            "live page: a conversation of thousands": lambda: self._open(self._long),
            "live page: pages back in it": lambda: self._page_back(as_admin=True),
            "live page: reads": lambda: self._read("admin"),
            "live page: claims and releases": self._change,
            "live page: ping that is due (claims go on or end)": self._sign_of_life,
        }

    def _of_the_journal(self) -> dict[str, Path]:
        return {
            "journal: newest number of all": lambda: self._await(self.journal.head(None)),
            "journal: newest number of one": lambda: self._await(self.journal.head(random.choice(self._long))),
            "process: starts to catch up": lambda: self._await(self.service.present()),
            "process: catches up": self._catch_up,
            "process: looks at staff's rights": lambda: self._await(self.service.revoked([self._admin])),
        }

    def _of_operators(self) -> dict[str, Path]:
        old = self._today - timedelta(days=14)
        day = {f"__{part}": getattr(old, part) for part in ("year", "month", "day")}
        lists: dict[str, tuple[str, Query]] = {
            "conversations": (CONVERSATIONS, {}),
            "conversations, page 100": (CONVERSATIONS, {"p": 100}),
            "conversations, oldest first": (CONVERSATIONS, {"o": 5}),
            **{f"conversations: {name}": (CONVERSATIONS, {"status": name}) for name in STATUSES},
            "conversations of a day": (CONVERSATIONS, {f"last_message_at{part}": value for part, value in day.items()}),
            "conversations of today": (CONVERSATIONS, {"last_message_at__gte": f"{self._today:%F} 00:00:00+00:00"}),
            "conversations: a rare word": (CONVERSATIONS, {"q": RARE}),
            "conversations: a common word": (CONVERSATIONS, {"q": COMMON}),
            "conversations: a name": (CONVERSATIONS, {"q": "Blue Otter 3f2a"}),
            "conversations: an id": (CONVERSATIONS, {"q": self._short[0]}),
            "messages": (MESSAGES, {}),
            "messages, page 100": (MESSAGES, {"p": 100}),
            "messages, oldest first": (MESSAGES, {"o": 1}),
            "messages of staff": (MESSAGES, {"sender": "admin"}),
            "messages by a button": (MESSAGES, {"quick": "speak-german"}),
            "messages by a button nobody presses": (MESSAGES, {"quick": "seldom"}),
            "messages of a month": (MESSAGES, {"created_at__year": old.year, "created_at__month": old.month}),
            "messages of a day": (MESSAGES, {f"created_at{part}": value for part, value in day.items()}),
            "messages: a rare word": (MESSAGES, {"q": RARE}),
            "messages: a common word": (MESSAGES, {"q": COMMON}),
            "messages: a word, of a day": (MESSAGES, {"q": RARE} | {f"created_at{part}": v for part, v in day.items()}),
            "messages: a name": (MESSAGES, {"q": "Blue Otter 3f2a"}),
            "messages of a thread of thousands": (MESSAGES, {"conversation__id__exact": self._long[0]}),
            "blocks": ("/admin/messaging/block/", {}),
            "quick messages": ("/admin/messaging/quickmessage/", {}),
            "start page": ("/admin/", {}),
        }
        pages: dict[str, Path] = {
            f"admin: {name}": partial(self._get, path, query) for name, (path, query) in lists.items()
        }
        return pages | {
            "admin: a conversation": lambda: self._get(f"{CONVERSATIONS}{random.choice(self._short)}/change/"),
            "admin: a thread of thousands": lambda: self._get(f"{CONVERSATIONS}{random.choice(self._long)}/change/"),
            "admin: what was done to a conversation": lambda: self._get(f"{CONVERSATIONS}{self._short[0]}/history/"),
            "admin: a message": lambda: self._get(f"{MESSAGES}{random.choice(self._sent).pk}/change/"),
            "page: /admin/live/": lambda: self._get(LIVE),
            "page: the live page's token": lambda: self._get(f"{LIVE}token/", posted=True),
            "page: the live page's tally": lambda: self._get(f"{LIVE}tally/"),
            "page: /user/": lambda: self._get("/user/"),
            "page: /user/ of somebody who comes back": self._come_to_the_page,
        }

    # --- The actions --------------------------------------------------------------------------------------------

    async def _await(self, something: Awaitable[Any]) -> None:
        await something

    async def _ask(self, connection: Any, action: str, **fields: object) -> None:
        text = json.dumps({"action": action, "id": uuid4().hex, **fields})
        actions = await self.service.receive(connection, text)
        refused = [a.frame for a in actions if isinstance(a, Reply) and isinstance(a.frame, frames.Error)]
        assert refused == [], (action, refused)

    def _ask_as_admin(self, action: str, **fields: object) -> Coroutine[Any, Any, None]:
        return self._ask(self._admin, action, **fields)

    async def _identified_admin(self) -> Any:
        connection = Connection(uuid4().hex)
        await self._ask(connection, "identify", v=2, type="admin", token=tokens.mint_admin(self._operator))
        return connection

    async def _identified(self, visitor: str, **fields: object) -> Any:
        connection = Connection(uuid4().hex)
        await self._ask(connection, "identify", v=2, type="user", token=tokens.mint_visitor(visitor), **fields)
        return connection

    async def _come_back(self, visitors: list[str]) -> None:
        connection = await self._identified(random.choice(visitors))
        await self._ask(connection, "history", limit=100)

    async def _resume(self) -> None:
        message = random.choice(self._sent)
        since = str(reader.stored(message).cursor)
        connection = await self._identified(str(message.conversation_id), since=since)
        await self._ask(connection, "history", since=since)

    async def _resume_as_admin(self) -> None:
        message = self._sent[0]
        away = Cursor(message.pk, int((message.created_at.timestamp() - AWAY) * 1000))
        connection = await self._identified_admin()
        await self._ask(connection, "history", since=str(away), limit=100)

    async def _page_back(self, as_admin: bool) -> None:
        thread = random.choice(self._long)
        connection = self._admin if as_admin else await self._identified(thread)
        await self._ask(connection, "history", conversation=thread, before=self._cursor(), limit=100)

    async def _first_load(self) -> None:
        connection = await self._identified_admin()
        await self._ask(connection, "history", limit=100)

    def _open(self, threads: list[str]) -> Coroutine[Any, Any, None]:
        return self._ask(self._admin, "history", conversation=random.choice(threads), limit=100)

    async def _read(self, role: str) -> None:
        message = random.choice(self._sent)
        connection = self._admin if role == "admin" else await self._identified(str(message.conversation_id))
        await self._ask(connection, "read", upTo=str(message.id), conversation=str(message.conversation_id))

    async def _write(self) -> None:
        connection = await self._identified(random.choice(self._short))
        await self._ask(connection, "sendMessage", content="Noch eine Frage")

    def _change(self) -> Coroutine[Any, Any, None]:
        return self._ask(self._admin, "conversation", conversation=self._short[0], op=next(self._changes))

    async def _sign_of_life(self) -> None:
        self._admin.touched_at = 0.0
        await self._ask(self._admin, "ping")

    async def _catch_up(self) -> None:
        known, floor = await self.service.present()
        await self.service.missed(known, floor, START)

    def _cursor(self) -> str:
        return str(reader.stored(random.choice(self._sent)).cursor)

    def _get(self, path: str, query: Query | None = None, *, posted: bool = False) -> None:
        answer = self._browser.post(path) if posted else self._browser.get(path, query or {})
        assert answer.status_code == 200, (path, query, answer.status_code)

    def _come_to_the_page(self) -> None:
        self._browser.cookies["messaging-visitor"] = tokens.mint_visitor(random.choice(self._long))
        self._get("/user/")
        del self._browser.cookies["messaging-visitor"]


@contextmanager
def everybody() -> Iterator[Everybody]:
    with asyncio.Runner() as runner:
        yield Everybody(runner)
        runner.run(runtime.close())


def write_plans(file: str) -> None:
    """Write PostgreSQL's plan of every statement of each path to `file`: `{path: [[statement, plan], ...]}` as JSON."""
    recorder = Recorder()
    found = {}
    settings.MESSAGING_JOURNAL_OPTIONS = settings.MESSAGING_JOURNAL_OPTIONS | {"answer_seconds": PATIENCE_SECONDS}
    with everybody() as people:
        for name in people.paths:
            with recorder.recorded() as statements:
                people.run(name)
            found[name] = [
                (sql, explained((sql, params), "ANALYZE, TIMING OFF, FORMAT JSON")) for sql, params in statements
            ]
    with open(file, "w") as output:
        json.dump(found, output)
