"""The address of the visitors' page for people who are not at this machine: for the stage, and for a QR code."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

PATH = "/user/"  # no `reverse`: a process that serves only staff has no such route


def visitors_url(request: HttpRequest) -> str:
    """Return `VISITORS_URL` or, without it, the visitors' page on the host that `request` was sent to."""
    return settings.VISITORS_URL or request.build_absolute_uri(PATH)


def leads_to_this_machine(url: str) -> bool:
    """Return whether `url` leads each device to itself, so that it is useless on any other one."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost" or host.endswith(".localhost")
