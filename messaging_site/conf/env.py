"""The environment: every value is checked when it is read, and an error names the variable and the allowed values."""

import os
import re
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar, overload
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from environs import EnvError, FileAwareEnv

from messaging.backends.base import Rate

T = TypeVar("T")

# The file NAME_FILE, if set, replaces NAME: secrets are mounted as files. Editors end files with a newline.
_env = FileAwareEnv(strip_whitespace=True)
_VERSION = re.compile(r"[!-~]{1,128}")  # a tag, a digest, or the name of an image that has neither
_HOST_NAME = re.compile(r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\]", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://(\*\.)?([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.IGNORECASE)

_platform: list[str] = []
effective: dict[str, object] = {}  # the value of each variable, or its default; `messaging_check` prints them


@overload
def text(name: str, default: str) -> str: ...
@overload
def text(name: str, default: None = None) -> str | None: ...
def text(name: str, default: str | None = None) -> str | None:
    """Return the value of `name`, or the content of the file that NAME_FILE names; an empty value counts as unset."""
    return _taken(name, _given(name) or default)


def required(name: str, why: str) -> str:
    """Return the value of `name`. Raise ImproperlyConfigured, which says `why` it is needed, if it is not set."""
    value = text(name)
    if value is None:
        where = f" ({', '.join(_platform)} is set, so this is not a local machine)" if _platform else ""
        raise ImproperlyConfigured(f"{name} is not set: {why}{where}")
    return value


def present(name: str) -> bool:
    """Return whether the platform has set `name`, to any value. If so, the errors of `required` mention it."""
    found = _taken(name, os.environ.get(name)) is not None
    _platform.extend([name] * found)
    return found


def number(name: str, default: int, *, least: int = 0, most: int, other_than: int | None = None) -> int:
    """Return a whole number from `least` to `most`, other than `other_than`."""
    value = _given(name) or str(default)
    if not re.fullmatch("-?[0-9]{1,18}", value) or not least <= int(value) <= most or int(value) == other_than:
        but = f", other than {other_than}" if other_than is not None else ""
        raise ImproperlyConfigured(f"{name}={value!r} must be a whole number from {least} to {most}{but}")
    return _taken(name, int(value))


def flag(name: str, default: bool) -> bool:
    """Return a boolean: true or false (also 1/0, yes/no, on/off)."""
    try:
        return _taken(name, _env.bool(name, default))
    except (EnvError, ValueError):
        raise ImproperlyConfigured(f"{name}={_given(name)!r} must be true or false") from None


def host_names(name: str, default: Sequence[str] = ()) -> list[str]:
    """Return host names in the form of Django's ALLOWED_HOSTS; in the variable, commas separate them."""
    return _several(name, default, _HOST_NAME, "host names separated by commas, such as chat.example.org")


def origins(name: str) -> list[str]:
    """Return origins in the form of a browser's `Origin`; in the variable, commas separate them."""
    return _several(name, (), _ORIGIN, "origins separated by commas, such as https://chat.example.org")


def choice(name: str, default: str, allowed: Sequence[str]) -> str:
    """Return one of `allowed`."""
    value = _given(name) or default
    if value not in allowed:
        raise ImproperlyConfigured(f"{name}={value!r} must be one of {', '.join(allowed)}")
    return _taken(name, value)


def rate(name: str, burst: int, seconds: float) -> Rate | None:
    """Return a rate from BURST/SECONDS (BURST at once, then one every SECONDS seconds), or None for `off`."""
    value = _taken(name, _given(name) or f"{burst}/{seconds:g}")
    if value == "off":
        return None
    parts = value.split("/")
    try:
        parsed = Rate(int(parts[0]), float(parts[1]))
    except (ValueError, IndexError):
        parsed = Rate(0, 0)
    if len(parts) != 2 or parsed.burst < 1 or not 0 < parsed.seconds < 86_400:
        raise ImproperlyConfigured(f"{name}={value!r} must be BURST/SECONDS, such as {burst}/{seconds:g}, or off")
    return parsed


def version(name: str, default: str) -> str:
    """Return the name of a build: short and without spaces, because metrics and logs repeat it."""
    value = text(name, default)
    if not _VERSION.fullmatch(value):
        raise ImproperlyConfigured(f"{name}={value!r} must be 1 to 128 printable ASCII characters, without spaces")
    return value


def address(name: str, default: str) -> str:
    """Return an IP address to listen on."""
    value = text(name, default)
    try:
        ip_address(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name}={value!r} must be an IP address, such as {default} or ::") from None
    return value


def directory(name: str, default: Path, *, make: bool = False) -> Path:
    """Return the path of a directory. `make`: create it if it does not exist."""
    value = Path(text(name, str(default)))
    wrong = not value.is_absolute()
    if make and not wrong:
        try:
            value.mkdir(parents=True, exist_ok=True)
        except OSError:
            wrong = True
    if wrong:
        raise ImproperlyConfigured(f"{name}={str(value)!r} must be the absolute path of a writable directory")
    return value


def url(name: str, schemes: Sequence[str], example: str) -> str | None:
    """Return a URL with one of `schemes` and a host, or None if `name` is not set."""
    value = text(name)
    if value is not None and not is_url(value, schemes):
        raise ImproperlyConfigured(f"{name} must be a URL such as {example}")  # its value may contain a password
    return value


def is_url(text: str, schemes: Sequence[str]) -> bool:
    """Return whether `text` has one of `schemes`, a host, and a valid port if it names one."""
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _several(name: str, default: Sequence[str], form: re.Pattern[str], wanted: str) -> list[str]:
    found = [part.strip() for part in (_given(name) or ",".join(default)).split(",") if part.strip()]
    if wrong := [part for part in found if not form.fullmatch(part)]:
        raise ImproperlyConfigured(f"{name}: {wrong[0]!r} is invalid; the value must be {wanted}")
    return _taken(name, found)


def _taken(name: str, value: T) -> T:
    effective[name] = value
    return value


def _given(name: str) -> str | None:
    try:
        return _env.str(name, None) or None
    except (EnvError, ValueError) as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


def stop_on_bad_configuration() -> None:
    """Load the settings. If a value can't be used, end the process with one line that names the variable."""
    try:
        settings.INSTALLED_APPS  # noqa: B018  the first access loads them
    except ImproperlyConfigured as error:
        sys.exit(f"configuration: {error}")
