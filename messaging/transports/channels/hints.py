"""The messages between processes through the channel layer: plain values, which every layer can carry."""

from messaging.protocol.frames import Message
from messaging.service.actions import Publish

Hint = tuple[str, int, str, str, str]  # group, minimum version, exclude, a message's cursor, encoded frame
Ending = tuple[str, int, str]  # group, close code, exclude


def hint(publish: Publish, text: str) -> Hint:
    """Return the hint for `publish`. `text`: its frame, encoded."""
    cursor = publish.frame.cursor if isinstance(publish.frame, Message) else ""
    return publish.group, publish.min_version, publish.exclude, cursor, text
