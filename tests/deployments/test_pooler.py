"""Servers behind PgBouncer in transaction mode, where each transaction may use another connection to PostgreSQL."""

import contextlib
from collections.abc import Iterator
from datetime import datetime

import psycopg
import pytest

from tests.support.connections import new_id, visitor
from tests.support.deployments import Deployment
from tests.support.pgbouncer import PgBouncer
from tests.support.waiting import eventually

ANSWER_SECONDS = 10  # until a waiting statement is cancelled: 2 s, and the delay of a busy machine
PAGES = (
    "messaging/conversation/",
    "messaging/conversation/?q=hello",
    "messaging/message/",
    "messaging/message/?q=hello",
    "messaging/block/",
    "messaging/quickmessage/",
    "messaging/quickmessage/add/",
    "auth/user/",
    "auth/user/add/",
    "auth/user/1/change/",
    "auth/group/",
    "auth/group/add/",
    "live/",
)
SAY = """
from messaging.models import Conversation, Message
thread = Conversation.objects.create()
message = Message.objects.create(conversation=thread, client_id="message-1", sender="user", content="exported")
print(message.pk, message.id)
"""
IDLE = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'"
WAITING = (
    "SELECT pid, query_start FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@contextlib.contextmanager
def transactions(pooled: Deployment, pooler: PgBouncer) -> Iterator[list[psycopg.Connection]]:
    """Yield clients of the pooler that hold all its connections to the database, at least ten."""
    with contextlib.ExitStack() as stack:
        observer = stack.enter_context(psycopg.connect(pooled.database, autocommit=True))
        clients: list[psycopg.Connection] = []
        while len(clients) < 10 or observer.execute(IDLE).fetchall():
            client = stack.enter_context(psycopg.connect(pooler.url(pooled.database)))
            client.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # it may be another client's
            clients.append(client)
        yield clients


@pytest.fixture
def pooled(pooled_deployment: Deployment, pooler: PgBouncer) -> Deployment:
    """Return pods whose pooler has ten connections to the database and uses all of them in turn for each client."""
    with transactions(pooled_deployment, pooler):
        return pooled_deployment


async def test_no_other_client_gets_the_time_limits_of_a_server(pooled: Deployment, pooler: PgBouncer) -> None:
    async with visitor(pooled.websocket_urls[0]) as page:
        await page.say("hello")
    with transactions(pooled, pooler) as clients:
        limits = {client.execute("SHOW statement_timeout").fetchone() for client in clients}
    assert limits == {("0",)}


@pytest.mark.parametrize(
    ("lock", "action"), [("SHARE", "sendMessage"), ("ACCESS EXCLUSIVE", "history")], ids=["writer", "reader"]
)
async def test_a_statement_that_waits_for_too_long_is_cancelled(
    lock: str, action: str, pooled: Deployment, pooler: PgBouncer
) -> None:
    fields = {"content": "hello"} if action == "sendMessage" else {}
    async with visitor(pooled.websocket_urls[0]) as page:
        await page.say("hello")  # the server has opened its connections to the pooler
        with (
            transactions(pooled, pooler),  # the next statement uses another connection to the database than before
            psycopg.connect(pooled.database, autocommit=True) as observer,
            psycopg.connect(pooled.database) as holder,
        ):
            holder.execute(f"LOCK TABLE messaging_message IN {lock} MODE")
            await page.send(action, id=new_id(), **fields)
            await eventually(lambda: waiting(observer) != set(), "a statement waits")
            first = min(waiting(observer))
            await eventually(lambda: first not in waiting(observer), "it is cancelled", ANSWER_SECONDS)


def waiting(observer: psycopg.Connection) -> set[tuple[int, datetime]]:
    """Return the statements of the database that wait for a lock, each as process id and start time."""
    return set(observer.execute(WAITING).fetchall())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_the_administration_answers(page: str, pooled: Deployment) -> None:
    operator = pooled.session("operator")
    operator.token()  # logs in
    assert operator.request(f"/admin/{page}")


def test_what_was_chosen_is_exported(pooled: Deployment) -> None:
    message, id = pooled.run(SAY).split()[-2:]
    operator = pooled.session("operator")
    operator.token()  # logs in
    form = {"action": "export_csv", "_selected_action": message}
    assert id in operator.request("/admin/messaging/message/", form).decode()
