"""The place up to which a client has read, and from which it resumes. Pure."""

from messaging.client.frames import Frame, request
from messaging.protocol.limits import HISTORY_LIMIT


class Place:
    """The place in the thread, and the history request that is under way."""

    def __init__(self) -> None:
        self.since: str | None = None  # everything up to this cursor was seen; only history and pongs move it
        self.request: Frame | None = None
        self.seen = ""  # the greatest cursor seen

    def restart(self) -> None:
        """Forget the place; the next history request asks for the newest messages."""
        self.since, self.seen = None, ""

    def saw(self, message: Frame) -> None:
        self.seen = max(self.seen, message["cursor"])

    def catch_up(self) -> Frame:
        """Return a history request for the missed messages, or for the newest ones if there is no place."""
        since = {"since": self.since} if self.since else {}
        self.request = request("history", limit=HISTORY_LIMIT, **since)
        return self.request

    def awaits(self, id: str) -> bool:
        return self.request is not None and self.request["id"] == id

    @property
    def loading(self) -> bool:
        """Return whether the newest messages are being loaded, rather than those that were missed."""
        return self.request is not None and "since" not in self.request

    def read(self, page: Frame) -> Frame | None:
        """Apply one frame of the answer; return the next request, if one is needed."""
        loading = self.loading
        if not (loading and page.get("partial")):  # if its last part is lost, the newest page is requested again
            self.since = page["cursor"]
        if page.get("partial"):
            return None
        self.request = None
        return self.catch_up() if page["more"] and not loading else None

    def compare(self, head: str) -> Frame | None:
        """Apply the cursor of a pong; return a history request if messages are missing."""
        if self.request is not None:
            return None
        if head != self.seen:
            return self.catch_up()
        self.since = head
        return None
