"""This machine's address in its local network, and how phones there reach the site."""

import io
import socket

import segno

ELSEWHERE = ("203.0.113.1", 9)  # of RFC 5737, on no network: nothing is sent there


class NoNetwork(Exception):
    """This machine has no address that other devices could reach."""


def own_address() -> str:
    """Return the address from which this machine reaches other networks. Raise NoNetwork if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ELSEWHERE)  # chooses a route; a datagram socket sends nothing here
        except OSError as error:
            raise NoNetwork(str(error)) from error
        address: str = probe.getsockname()[0]
    if address.startswith("127."):
        raise NoNetwork(f"the only address is {address}")
    return address


def is_own(address: str) -> bool:
    """Return whether `address` is an IPv4 address of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:  # also if the text is no address
            return False
    return True


def in_terminal(url: str) -> str:
    """Return the QR code of `url`, drawn with characters."""
    drawn = io.StringIO()
    segno.make(url, micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()
