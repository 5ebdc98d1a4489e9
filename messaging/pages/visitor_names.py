"""Names for visitors, who give none. static/messaging/conversations.js makes the same ones, so all lists agree."""

import re
from uuid import UUID

# fmt: off
COLOURS = (
    "Amber", "Azure", "Blue", "Coral", "Golden", "Green", "Grey", "Indigo",
    "Ivory", "Lilac", "Mint", "Olive", "Red", "Silver", "Teal", "White",
)
ANIMALS = (
    "Badger", "Bear", "Crane", "Deer", "Falcon", "Fox", "Hare", "Heron",
    "Lynx", "Otter", "Owl", "Raven", "Robin", "Seal", "Swan", "Wolf",
)
# fmt: on

_NAME = re.compile(r"([a-z]+) ([a-z]+) ([0-9a-f]{4})", re.IGNORECASE)


def visitor_name(visitor: UUID) -> str:
    """Return a name such as "Blue Otter 3f2a"."""
    digits = visitor.hex
    return f"{COLOURS[int(digits[-6], 16)]} {ANIMALS[int(digits[-5], 16)]} {digits[-4:]}"


def ending_of(name: str) -> str | None:
    """Return the last hexadecimal digits of the ids with this name, or None if it is no name."""
    found = _NAME.fullmatch(name.strip())
    if found is None:
        return None
    colour, animal = found[1].capitalize(), found[2].capitalize()
    if colour not in COLOURS or animal not in ANIMALS:
        return None
    return f"{COLOURS.index(colour):x}{ANIMALS.index(animal):x}{found[3].lower()}"
