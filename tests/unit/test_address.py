"""The address of a client, and the pseudonym by which the server knows it."""

import pytest
from pytest_django import Settings as SettingsWrapper

from messaging.transports.client_address import client_address, pseudonym


def scope(client: str, *forwarded: str) -> dict[str, object]:
    return {"client": [client, 1234], "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded]}


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, ("6.6.6.6",), "10.0.0.1"),
        (1, ("6.6.6.6, 1.2.3.4",), "1.2.3.4"),
        (1, ("6.6.6.6", "1.2.3.4"), "1.2.3.4"),
        (2, ("6.6.6.6, 1.2.3.4, 10.0.0.2",), "1.2.3.4"),
        (2, ("1.2.3.4",), "10.0.0.1"),
        (1, ("<script>",), "10.0.0.1"),
        (1, (), "10.0.0.1"),
    ],
)
def test_only_what_our_own_proxies_say_is_believed(
    settings: SettingsWrapper, proxies: int, forwarded: tuple[str, ...], expected: str
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    assert client_address(scope("10.0.0.1", *forwarded)) == expected


def test_an_address_is_known_by_a_pseudonym_and_an_ipv6_network_by_one() -> None:
    assert pseudonym(scope("10.0.0.1")) == pseudonym(scope("10.0.0.1")) != pseudonym(scope("10.0.0.2"))
    assert pseudonym(scope("2001:db8::1")) == pseudonym(scope("2001:db8::ffff")) != pseudonym(scope("2001:db8:0:1::1"))
    assert "10.0.0.1" not in pseudonym(scope("10.0.0.1"))
