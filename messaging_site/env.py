"""The environment: every value is checked where it is read, and a wrong one is named with what is allowed."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar, overload

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from environs import EnvError, FileAwareEnv

from messaging.limits import Rate

T = TypeVar("T")

_env = FileAwareEnv()  # NAME_FILE is read where NAME is not set: how secrets are mounted


@overload
def text(name: str, default: str) -> str: ...
@overload
def text(name: str, default: None = None) -> str | None: ...
def text(name: str, default: str | None = None) -> str | None:
    """The value of `name`, or of the file that NAME_FILE names; an empty one counts as none."""
    return _read(name, lambda: _env.str(name, None)) or default


def required(name: str, why: str) -> str:
    """The value of `name`. Raises ImproperlyConfigured that says `why` it is needed."""
    value = text(name)
    if value is None:
        raise ImproperlyConfigured(f"{name} is not set: {why}")
    return value


def number(name: str, default: int, *, least: int = 0, most: int = sys.maxsize) -> int:
    """A whole number from `least` to `most`."""
    value = text(name)
    if value is None:
        return default
    if not value.lstrip("-").isdigit() or not least <= int(value) <= most:
        raise ImproperlyConfigured(f"{name}={value!r} must be a whole number from {least} to {most}")
    return int(value)


def flag(name: str, default: bool) -> bool:
    """true or false (also 1/0, yes/no, on/off)."""
    return _read(name, lambda: _env.bool(name, default))


def names(name: str, default: Sequence[str] = ()) -> list[str]:
    """Values with commas between them."""
    value = text(name)
    return list(default) if value is None else [part.strip() for part in value.split(",") if part.strip()]


def choice(name: str, default: str, allowed: Sequence[str]) -> str:
    """One of `allowed`."""
    value = text(name) or default
    if value not in allowed:
        raise ImproperlyConfigured(f"{name}={value!r} must be one of {', '.join(allowed)}")
    return value


def rate(name: str, burst: int, seconds: float) -> Rate | None:
    """BURST/SECONDS: so many at once, then one every so many seconds; or `off`."""
    value = text(name)
    if value is None:
        return Rate(burst, seconds)
    if value == "off":
        return None
    parts = value.split("/")
    try:
        parsed = Rate(int(parts[0]), float(parts[1]))
    except (ValueError, IndexError):
        parsed = Rate(0, 0)
    if len(parts) != 2 or parsed.burst < 1 or not 0 < parsed.seconds < 86_400:
        raise ImproperlyConfigured(f"{name}={value!r} must be BURST/SECONDS, as in {burst}/{seconds}, or off")
    return parsed


def _read(name: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except (EnvError, ValueError) as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


def stop_on_bad_configuration() -> None:
    """Load the settings; a value that can't be used ends the process with one line that names it."""
    try:
        settings.INSTALLED_APPS  # noqa: B018  the first access loads them
    except ImproperlyConfigured as error:
        sys.exit(f"configuration: {error}")
