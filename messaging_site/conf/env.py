"""The environment: every value is checked when it is read, and a problem names the variable and the allowed values.

A function that finds a problem notes it and returns a stand-in, so that the settings load to their end and
`stop_on_problems` reports all of them together. A problem with a variable that only some processes use stops only those
(`judge_when_used`).
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TypeVar, overload
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from messaging.backends.base import Rate

T = TypeVar("T")

TRUE, FALSE = ("true", "1", "yes", "on", "t", "y"), ("false", "0", "no", "off", "f", "n")

_VERSION = re.compile(r"[!-~]{1,128}")  # a tag, a digest, or the name of an image that has neither
_HOST_NAME = re.compile(r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\]", re.IGNORECASE)
# Without the characters that separate the parts of a content security policy.
_DIRECTORY_URL = re.compile(
    r"(https://[a-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:\d{1,5})?(/[\w.~-]+)*/", re.ASCII | re.IGNORECASE
)
_ORIGIN = re.compile(r"https?://(\*\.)?([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.IGNORECASE)

_platform: list[str] = []
_problems: list[str] = []
_unreadable: set[str] = set()  # variables whose file can't be read
_aliases: dict[str, str] = {}  # by the name of a variable
_of_some: set[str] = set()  # the variables that only some processes use
_deferred: dict[str, str] = {}  # the problems with those, by the name of the variable
effective: dict[str, object] = {}  # the value of each variable, or its default; `messaging_check` prints them


@overload
def text(name: str, default: str) -> str: ...
@overload
def text(name: str, default: None = None) -> str | None: ...
def text(name: str, default: str | None = None) -> str | None:
    """Return the value of `name`, or the content of the file that NAME_FILE names; an empty value counts as unset."""
    return _taken(name, _given(name) or default)


def required(name: str, why: str) -> str:
    """Return the value of `name`; if it is not set, that is a problem, which says `why` it is needed."""
    value = text(name)
    if value is None and name in _unreadable:
        return ""
    if value is None:
        where = f" ({', '.join(_platform)} is set, so this is not a local machine)" if _platform else ""
        return _wrong(name, f" is not set: {why}{where}", "")
    return value


def present(name: str) -> bool:
    """Return whether the platform has set `name`, to any value. If so, the errors of `required` mention it."""
    found = _taken(name, os.environ.get(name)) is not None
    _platform.extend([name] * found)
    return found


def number(name: str, default: int, *, least: int = 0, most: int, other_than: str = "") -> int:
    """Return a whole number from `least` to `most`, and not the valid number of the variable `other_than`."""
    value, taken = _given(name) or str(default), effective.get(other_than)
    if not re.fullmatch("-?[0-9]{1,18}", value) or not least <= int(value) <= most or int(value) == taken:
        but = f", other than {taken}" if taken is not None else ""
        return _wrong(name, f"={value!r} must be a whole number from {least} to {most}{but}", default)
    return _taken(name, int(value))


def flag(name: str, default: bool, *, never: str = "") -> bool:
    """Return a boolean: true or false (also 1/0, yes/no, on/off). `never`: why it must not be true, if so."""
    value = _given(name) or str(default)
    if value.lower() not in TRUE + FALSE:
        return _wrong(name, f"={value!r} must be true or false", default)
    if never and value.lower() in TRUE:
        return _wrong(name, f"={value!r} must be false: {never}", default)
    return _taken(name, value.lower() in TRUE)


def host_names(name: str, default: Sequence[str] = ()) -> list[str]:
    """Return host names in the form of Django's ALLOWED_HOSTS; in the variable, commas separate them."""
    return _several(name, default, _HOST_NAME, "host names separated by commas, such as chat.example.org")


def origins(name: str) -> list[str]:
    """Return origins in the form of a browser's `Origin`; in the variable, commas separate them."""
    return _several(name, (), _ORIGIN, "origins separated by commas, such as https://chat.example.org")


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """Return networks in CIDR notation; in the variable, commas separate them."""
    texts = [part.strip() for part in (_given(name) or "").split(",") if part.strip()]
    found = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError as error:
            return _wrong(name, f": {error}; the value must be networks separated by commas, such as 10.0.0.0/8", [])
    _taken(name, texts)
    return found


def secrets(name: str) -> list[str]:
    """Return secrets that stand in lines of their own or are separated by commas."""
    return _taken(name, [part.strip() for part in re.split("[,\n]", _given(name) or "") if part.strip()])


def choice(name: str, default: str, allowed: Sequence[str]) -> str:
    """Return one of `allowed`."""
    value = _given(name) or default
    if value not in allowed:
        return _wrong(name, f"={value!r} must be one of {', '.join(allowed)}", allowed[0])
    return _taken(name, value)


def rate(name: str, burst: int, seconds: float, *, least: int = 1) -> Rate | None:
    """Return a rate from BURST/SECONDS (BURST at once, then one every SECONDS seconds), or None for `off`.

    `least`: the smallest BURST.
    """
    value = _taken(name, _given(name) or f"{burst}/{seconds:g}")
    if value == "off":
        return None
    parts = value.split("/")
    try:
        parsed = Rate(int(parts[0]), float(parts[1]))
    except (ValueError, IndexError):
        parsed = Rate(0, 0)
    if len(parts) != 2 or parsed.burst < least or not 0 < parsed.seconds < 86_400:
        at_least = f" with a BURST of at least {least}" if least > 1 else ""
        return _wrong(name, f"={value!r} must be BURST/SECONDS{at_least}, such as {burst}/{seconds:g}, or off", None)
    return parsed


def version(name: str, default: str) -> str:
    """Return the name of a build: short and without spaces, because metrics and logs repeat it."""
    value = text(name, default)
    if not _VERSION.fullmatch(value):
        return _wrong(name, f"={value!r} must be 1 to 128 printable ASCII characters, without spaces", default)
    return value


def address(name: str, default: str) -> str:
    """Return an IP address to listen on."""
    value = text(name, default)
    try:
        ip_address(value)
    except ValueError:
        return _wrong(name, f"={value!r} must be an IP address, such as {default} or ::", default)
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
        return _wrong(name, f"={str(value)!r} must be the absolute path of a writable directory", default)
    return value


def url(name: str, schemes: Sequence[str], example: str) -> str | None:
    """Return a URL with one of `schemes` and a host, or None if `name` is not set."""
    value = text(name)
    if value is not None and not is_url(value, schemes):
        return _wrong(name, f" must be a URL such as {example}", None)  # its value may contain a password
    return value


def directory_url(name: str, default: str) -> str:
    """Return the URL of a directory of files that browsers load: `https`, or `http` on this machine."""
    value = text(name, default)
    if value != default and not _DIRECTORY_URL.fullmatch(value):
        return _wrong(
            name, f"={value!r} must be an https URL that ends with a slash, such as https://files.example.org/", default
        )
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
        return _wrong(name, f": {wrong[0]!r} is invalid; the value must be {wanted}", list(default))
    return _taken(name, found)


def _taken(name: str, value: T) -> T:
    effective[name] = value
    return value


def judged(parse: Callable[[], T], stand_in: T) -> T:
    """Return the result of `parse`, or `stand_in` if it raises ImproperlyConfigured, which is then a problem."""
    try:
        return parse()
    except ImproperlyConfigured as error:
        return _noted("", str(error), stand_in)


def is_sound() -> bool:
    """Return whether no problem was noted yet."""
    return not _problems


def stop_on_problems() -> None:
    """Raise ImproperlyConfigured, with a line for each problem noted since the last call, if there is any."""
    problems = "\n".join(dict.fromkeys(_problems))
    _problems.clear()
    _unreadable.clear()
    if problems:
        raise ImproperlyConfigured(problems)


def _wrong(name: str, problem: str, stand_in: T) -> T:
    """Note a problem with the variable `name`, under the name by which it is set."""
    set_as = _set_as(name)
    instead = "" if set_as == name else f" ({set_as} is read because {name} is not set)"
    return _noted(name, f"{set_as}{problem}{instead}", stand_in)


def _noted(name: str, problem: str, stand_in: T) -> T:
    if name in _of_some:
        _deferred[name] = problem
    else:
        _problems.append(problem)
    return stand_in


def judge_when_used(*names: str) -> None:
    """Let a problem with one of these variables stop only processes that use it (`stop_on_bad_configuration`)."""
    _of_some.update(names)


def also(name: str, alias: str) -> None:
    """Read `alias` if `name` is not set."""
    _aliases[name] = alias


def _set_as(name: str) -> str:
    """Return the name by which the variable `name` is set: its own or, if only that is set, its alias."""
    names = (name, _aliases.get(name, name))
    return next((each for each in names if os.environ.get(each) or os.environ.get(f"{each}_FILE")), name)


def _given(name: str) -> str | None:
    """Return the content of the file that NAME_FILE names or, if that is unset, the value of `name`; None if empty.

    Secrets are mounted as files, and editors end files with a newline.
    """
    set_as = _set_as(name)
    path = os.environ.get(f"{set_as}_FILE")
    if not path:
        return os.environ.get(set_as) or None
    try:
        return Path(path).read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        _unreadable.add(name)
        return _noted(name, f"{_set_as(name)}_FILE={path!r} must be a readable file path", None)


def stop_on_bad_configuration(*used: str) -> None:
    """Load the settings. If any value can't be used, end the process with one line per problem, naming its variable.

    `used`: those variables of `judge_when_used` that this process uses.
    """
    problems: list[str] = []
    try:
        settings.INSTALLED_APPS  # noqa: B018  the first access loads them
    except ImproperlyConfigured as error:
        problems = str(error).splitlines()
    problems += [_deferred[name] for name in used if name in _deferred]
    if problems:
        sys.exit("\n".join(f"configuration: {problem}" for problem in problems))
