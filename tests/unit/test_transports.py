"""The way in which every transport performs the service's actions: the contract in messaging/transports/base.py."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from messaging.protocol import frames
from messaging.protocol.codes import CloseCode
from messaging.runtime import runtime
from messaging.service.actions import Action, Close, CloseGroup, Connection, Join, Publish, Reply, is_for
from messaging.service.contracts import ADMINS, StoredConnection, conversation_group
from messaging.transports.base import GatheringTransport
from messaging.transports.channels.consumer import MessagingConsumer
from tests.support.waiting import eventually

VISITOR = "0192e4a0-0000-7000-8000-000000000001"
READ = frames.Read(VISITOR, "user", "m", "c", "t")
PRESENCE = frames.Presence(1, "t")

pytestmark = pytest.mark.django_db(transaction=True)


class Consumer(MessagingConsumer):
    """A consumer whose socket and hub record what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = visitor()
        self.done: list[Any] = []
        self.sends_many = False
        self.hub: Any = RecordingHub(self.done)

    async def send_event(self, event: dict[str, Any]) -> None:
        self.done.append(("frame", json.loads(event["text"])["type"]) if "text" in event else ("close", event["code"]))


class RecordingHub:
    """The methods of a hub that a transport calls."""

    def __init__(self, done: list[Any]) -> None:
        self._done = done

    def leave(self, _member: Any, _groups: Any) -> None:
        pass

    def join(self, _member: Any, groups: tuple[str, ...]) -> None:
        self._done.append(("join", *groups))

    def publish(self, action: Publish | CloseGroup) -> None:
        self._done.append(("publish", action.group))


class Gathering(GatheringTransport):
    """The transport of forms and of a gateway's posts, with a record of all that was gathered."""

    def __init__(self) -> None:
        super().__init__(visitor())

    @property
    def done(self) -> list[Any]:
        published = [("publish", action.group) for action in self.published]
        return [*published, *(("frame", frame.TYPE) for frame in self.frames), *[("close", 4001)] * self.closing]


def visitor() -> Connection:
    return Connection("c-1", role="user", version=2, conversation=VISITOR)


@pytest.fixture(autouse=True)
async def process() -> AsyncIterator[None]:
    yield
    await runtime.close()


@pytest.mark.parametrize("make", [Consumer, Gathering])
async def test_actions_are_performed_in_order(make: type[Consumer | Gathering]) -> None:
    transport = make()
    actions: list[Action] = [
        Join(),
        Reply(READ),
        Publish(ADMINS, READ),
        Reply(PRESENCE),
        CloseGroup(conversation_group(VISITOR), CloseCode.RESTART),
        Close(CloseCode.RESTART),
    ]
    transport.perform(actions)
    expected = {
        "publish": [ADMINS, f"conversation:{VISITOR}"],
        "frame": ["read", "presence"],
        "close": [4001],
    }
    await eventually(lambda: ("close", 4001) in transport.done, "the connection is closed")
    for kind, values in expected.items():
        assert [value for name, value in transport.done if name == kind] == values
    assert transport.done[-1] == ("close", 4001)


@pytest.mark.parametrize(
    ("version", "min_version", "exclude", "concerned"),
    [
        (1, 1, "", True),
        (1, 2, "", False),
        (2, 2, "", True),
        (2, 2, "c-1", False),
        (2, 2, f"visitor:{VISITOR}", False),
        (2, 2, "c-2", True),
    ],
)
def test_a_row_and_a_connection_are_concerned_alike(
    version: int, min_version: int, exclude: str, concerned: bool
) -> None:
    connection = visitor()
    connection.version = version
    row = StoredConnection("c-1", "user", VISITOR, connection.principal, version, "pod", connection.connected_at)
    assert is_for(connection, min_version=min_version, exclude=exclude) is concerned
    assert is_for(row, min_version=min_version, exclude=exclude) is concerned
