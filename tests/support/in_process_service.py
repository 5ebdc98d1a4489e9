"""The service in the test's own process, with real stores: one frame in, a list of actions out."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple, TypeVar
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import connections

from messaging.backends.base import Rate
from messaging.backends.memory import MemoryLimiter, MemoryStore
from messaging.journal.journal import Journal
from messaging.models import QuickMessage
from messaging.protocol import frames
from messaging.service.actions import Action, Close, Connection, Publish, Reply
from messaging.service.service import MessagingService
from messaging.service.throttle import Rates
from tests.support.clock import Clock
from tests.support.logins import admin_token
from tests.support.services import PATIENCE_SECONDS

F = TypeVar("F")

SPEAK_GERMAN = {"key": "speak-german", "label": "Please speak German", "content": "speak german"}


RATES = Rates(visitor=Rate(5, 60), admin=Rate(3, 60), connection=None, address=None, conversations=None)


class Visitor(Connection):
    """The connection of a visitor, which has a conversation once it has identified itself."""

    conversation: str


class Admin(Connection):
    """The connection of a staff member, whose primary key it has once it has identified itself."""

    staff: int


class Sent(NamedTuple):
    """The fields of the ack of a stored message."""

    message_id: str
    cursor: str
    timestamp: str


class InProcessService(MessagingService):
    """The service with low rate limits, and the visitors and staff that a test connects to it.

    An interval of the service passes only when the test advances `clock`.
    """

    def __init__(self, store: MemoryStore, journal: Journal, clock: Clock, rates: Rates = RATES) -> None:
        super().__init__(
            store,
            journal,
            limiter=MemoryLimiter(clock),
            rates=rates,
            heartbeat_ms=25_000,
            retention_days=30,
            pod="pod-a",
            clock=clock,
        )
        self.store = store
        self.clock = clock

    async def send(self, connection: Connection, action: str, **fields: object) -> list[Action]:
        """Return the actions that follow from one frame of `connection`."""
        return await self.receive(connection, json.dumps({"action": action, **fields}))

    async def visitor(self, version: int = 2) -> Visitor:
        """Return the connection of a new visitor."""
        connection = Visitor(uuid4().hex)
        await self.send(connection, "identify", type="user", v=version)
        return connection

    async def admin(self, *rights: str, version: int = 2) -> Admin:
        """Return the connection of a new staff member who has `rights`."""
        connection = Admin(uuid4().hex)
        token = await sync_to_async(admin_token)(await staff(*rights))
        await self.send(connection, "identify", type="admin", v=version, token=token)
        assert connection.role == "admin"
        return connection


@sync_to_async
def staff(*rights: str) -> User:
    """Create and return a staff member who has `rights`."""
    user = User.objects.create_user(f"ada-{uuid4().hex}", first_name="Ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return user


@contextlib.asynccontextmanager
async def in_process_service(store: MemoryStore | None = None, rates: Rates = RATES) -> AsyncIterator[InProcessService]:
    """Run a service that has one quick message, and close it afterwards."""
    await QuickMessage.objects.all().adelete()
    await QuickMessage.objects.acreate(**SPEAK_GERMAN)
    clock = Clock()
    journal = Journal(answer_seconds=PATIENCE_SECONDS, clock=clock)
    yield InProcessService(store or MemoryStore(), journal, clock, rates)
    await journal.close()
    await sync_to_async(connections.close_all)()


def frame_of(action: Action, kind: type[F]) -> F:
    """Return the frame of a Reply or a Publish. Check that its type is `kind`."""
    assert isinstance(action, Reply | Publish)
    assert isinstance(action.frame, kind)
    return action.frame


def replies(actions: Iterable[Action], kind: type[F]) -> list[F]:
    """Return the frames that go back to the sender. Check that the type of all is `kind`."""
    return [frame_of(action, kind) for action in actions if isinstance(action, Reply)]


def reply(actions: Iterable[Action], kind: type[F]) -> F:
    """Return the only frame that goes back to the sender. Check that its type is `kind`."""
    (frame,) = replies(actions, kind)
    return frame


def acked(action: Action) -> Sent:
    """Return the fields of the ack of a stored message."""
    ack = frame_of(action, frames.Ack)
    assert ack.message_id is not None
    assert ack.cursor is not None
    return Sent(ack.message_id, ack.cursor, ack.timestamp)


def refusal(actions: list[Action]) -> tuple[object, ...]:
    """Return the code of the one error, then the close code if the connection is closed."""
    error, *rest = actions
    assert isinstance(error, Reply)
    assert isinstance(error.frame, frames.Error)
    assert error.frame.error == error.frame.message != ""
    return (error.frame.code, *(action.code for action in rest if isinstance(action, Close)))
