"""The messages between processes through the channel layer: plain values, which every layer can carry."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypedDict

from messaging.protocol.frames import Message
from messaging.service.actions import Publish

Hint = tuple[str, int, str, str, str]  # group, minimum version, exclude, a message's cursor, encoded frame
Ending = tuple[str, int, str]  # group, close code, exclude


class Bundle(TypedDict):
    """All that a process publishes in one turn of its event loop. `site`: the identity of its journal.

    `traces`: those of the messages, by cursor. `type`: Channels requires one.
    """

    type: str
    site: str
    hints: Sequence[Hint]
    endings: Sequence[Ending]
    traces: Mapping[str, str]


def hint(publish: Publish, text: str) -> Hint:
    """Return the hint for `publish`. `text`: its frame, encoded."""
    cursor = publish.frame.cursor if isinstance(publish.frame, Message) else ""
    return publish.group, publish.min_version, publish.exclude, cursor, text


def bundle(
    site: str,
    hints: Sequence[Hint] = (),
    endings: Sequence[Ending] = (),
    traces: Mapping[str, str] = MappingProxyType({}),
) -> Bundle:
    return {"type": "hub.hints", "site": site, "hints": hints, "endings": endings, "traces": dict(traces)}
