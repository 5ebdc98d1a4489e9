"""The API Gateway transport in this process, called as a gateway calls it."""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import Permission, User

from messaging import tokens
from messaging.runtime import runtime
from messaging.transports.apigateway import handler, invocation
from tests.support import gateway_events
from tests.support.connections import Frame
from tests.support.gateway_events import Context, ManagementAPI
from tests.support.logins import login


@dataclass
class Gate:
    """A gateway that calls the transport in this process."""

    api: ManagementAPI
    seconds: float = 29.0  # that each invocation may take
    conversations: dict[str, str] = field(default_factory=dict)  # by connection of a visitor

    def event(self, event: gateway_events.Event) -> int:
        """Handle `event`. Return the status code, the only field of the answer."""
        answer = handler.handler(event, Context(self.seconds))
        assert answer == {"statusCode": answer["statusCode"]}
        return answer["statusCode"]

    def connect(self, **fields: Any) -> str:
        connection = secrets.token_urlsafe(11) + "="
        assert self.event(gateway_events.connect(connection, **fields)) == 200
        return connection

    def frame(self, connection: str, body: str, **fields: Any) -> list[Frame]:
        """Handle a frame of `connection`. Return the frames that are sent to it meanwhile."""
        had = len(self.api.frames[connection])
        assert self.event(gateway_events.message(connection, body, **fields)) == 200
        return self.api.frames[connection][had:]

    def send(self, connection: str, action: str, **fields: Any) -> list[Frame]:
        return self.frame(connection, json.dumps({"action": action, **fields}))

    def visitor(self) -> str:
        connection = self.connect()
        _, identified = self.send(connection, "identify", type="user", v=2)
        self.conversations[connection] = identified["conversation"]
        return connection

    def admin(self, user: User | None = None, session: str = "") -> str:
        """Open the connection of a staff member, who is signed in in `session`, a digest, or else signs in."""
        connection = self.connect()
        token = tokens.mint_admin(session or login(user or staff()))
        _, identified = self.send(connection, "identify", type="admin", v=2, token=token)
        assert identified["type"] == "identified"
        return connection

    def say(self, connection: str, content: str = "hello", **fields: Any) -> Frame:
        """Send a message. Return its answer, the only frame that `connection` gets."""
        (answer,) = self.send(connection, "sendMessage", id=uuid4().hex, content=content, **fields)
        return answer

    def contents(self, connection: str) -> list[str]:
        return [frame["content"] for frame in self.api.frames[connection] if frame["type"] == "message"]

    def rows(self, group: str) -> list[str]:
        return [row.id for row in invocation.run(runtime.store.get_connections(group))]

    def state(self, connection: str) -> dict[str, Any] | None:
        return invocation.run(runtime.states.load(connection))


def staff() -> User:
    user = User.objects.create_user(f"ada-{uuid4().hex}", first_name="Ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_message", "add_message"]))
    return user
