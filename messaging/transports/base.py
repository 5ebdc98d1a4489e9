"""The contract of a transport: how the service's actions reach clients. Only `Transport.perform` performs them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from messaging.protocol.frames import ServerFrame
from messaging.service.actions import Action, Close, CloseGroup, Connection, Join, Publish, Reply

if TYPE_CHECKING:
    from messaging.transports.client_address import Client

T = TypeVar("T")

Trip = Callable[[], Coroutine[Any, Any, None]]  # a live test of a backend, which raises if the backend does not work
TRIP_SECONDS = 5.0  # the limit for one trip
MARK = "messaging-check"  # part of the name of everything that a trip stores or sends


class Transport(ABC):
    """A connection on which the service's actions are performed. No method waits: slow work is done later, in order."""

    connection: Connection

    def perform(self, actions: Iterable[Action]) -> None:
        """Perform actions of the service, in order."""
        for action in actions:
            match action:
                case Reply(frame):
                    self.deliver(frame)
                case Join():
                    self.join()
                case Publish() | CloseGroup():
                    self.publish(action)
                case Close():
                    self.close(action)

    @abstractmethod
    def deliver(self, frame: ServerFrame) -> None:
        """Send `frame` to the client, after all frames that were delivered before."""

    @abstractmethod
    def join(self) -> None:
        """Subscribe the connection to its current `groups`, instead of any earlier ones."""

    @abstractmethod
    def publish(self, action: Publish | CloseGroup) -> None:
        """Send a frame to the connections of a group, or close them, in whichever process they are."""

    @abstractmethod
    def close(self, closing: Close) -> None:
        """Close the connection after all delivered frames. From now on, nothing is accepted from the client."""


class HeldTransport(Transport):
    """A connection that this process holds: the hub publishes to it, and a drain ends it.

    `outbox_bytes`: the size of the frames that wait for its client. `client`: who that is; None until it is known.
    """

    outbox_bytes: int
    client: "Client | None" = None

    @abstractmethod
    def push(self, text: str, cursor: str = "") -> None:
        """Send an encoded frame, in order with `deliver`; must not raise. `cursor`: of the message in it, if any."""

    @abstractmethod
    def restart(self) -> None:
        """Tell the client to reconnect, and close. A handshake or frame that is being served is finished first."""


class GatheringTransport(Transport):
    """A connection whose actions are only gathered here, for callers that carry them out together."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.frames: list[ServerFrame] = []
        self.published: list[Publish | CloseGroup] = []
        self.closing = False

    def deliver(self, frame: ServerFrame) -> None:
        self.frames.append(frame)

    def join(self) -> None:
        """Do nothing: the service has written the rows by which a gateway's connections are found."""

    def publish(self, action: Publish | CloseGroup) -> None:
        self.published.append(action)

    def close(self, closing: Close) -> None:
        self.closing = True


class Holder(ABC):
    """The holder of the clients' connections, for code that serves none of them: forms, the Django admin, commands.

    One per process, named by the setting MESSAGING_HOLDER. `needs_store`: whether clients can be served only while the
    connection store answers. `probes`: the URL of the probes of the server on this machine; None if no server runs.
    """

    needs_store: bool
    probes: str | None

    @abstractmethod
    def run(self, work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        """Run `work` on the event loop that serves connections in this process, if any, and return its result."""

    @abstractmethod
    async def publish(self, told: Sequence[Publish | CloseGroup]) -> None:
        """Publish `told` from work that `run` runs. Waits for a few seconds at most."""

    @abstractmethod
    def announce(self, told: Sequence[Publish | CloseGroup]) -> None:
        """Publish `told` from any thread. Waits for a few seconds at most; may raise anything."""

    @abstractmethod
    def drain(self) -> str:
        """Send the clients elsewhere, and return one line that says what happened. Raises NotDrained."""

    @abstractmethod
    def trips(self) -> Mapping[str, Trip]:
        """Return a live test of each service that carries frames to clients, by its name in reports."""


class TripFailed(Exception):
    """A backend answered, but wrongly; the text gives the details."""


class NotDrained(Exception):
    """The clients were not sent elsewhere; the text gives the reason."""
