"""The types of command arguments. Each raises ArgumentTypeError with a text that says what would be valid."""

from argparse import ArgumentTypeError
from datetime import datetime
from uuid import UUID

from django.utils import timezone


def conversation(text: str) -> UUID:
    """Return the id of a conversation."""
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} must be a UUID such as 01976f3e-6c1e-7cc2-b0c5-6d2f8a4b3f2a") from None


def moment(text: str) -> datetime:
    """Return a date or a time in ISO 8601 form, in UTC if it names no zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        wanted = "must be a date or a time, such as 2026-11-25 or 2026-11-25T14:00:00+01:00"
        raise ArgumentTypeError(f"{text!r} {wanted}") from None
    return timezone.make_aware(found) if timezone.is_naive(found) else found


def days(text: str) -> int:
    """Return a number of days, at least 1, so that clients that were away for hours still find what they missed."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} must be a number of days, at least 1")
    return int(text)
