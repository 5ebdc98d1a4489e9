"""The address of a client in every notation, the proxies that are believed, and the pseudonym of a client."""

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings as SettingsWrapper

from messaging.transports import client_address as module
from messaging.transports.client_address import (
    DOUBTED,
    NAT64,
    Client,
    client,
    client_address,
    drop_untrusted_headers,
    of_request,
    parsed,
    pseudonym,
    pseudonym_of,
    pseudonyms_of,
)

PROXY = "10.0.0.1"
NETWORKS = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
# The value of X-Forwarded-For that a documented proxy sends for the client 192.0.2.1, or for 2001:db8::1, with the
# number of proxies that docs/proxies.md gives for it.
HEADERS = {
    "nginx, HAProxy, Caddy, Traefik, ingress-nginx": (1, ("192.0.2.1",), "192.0.2.1"),
    "nginx that appends": (1, ("6.6.6.6, 192.0.2.1",), "192.0.2.1"),
    "HAProxy, which adds a line": (1, ("6.6.6.6", "192.0.2.1"), "192.0.2.1"),
    "ALB": (1, ("6.6.6.6, 192.0.2.1",), "192.0.2.1"),
    "ALB that keeps the port": (1, ("6.6.6.6, 192.0.2.1:41234",), "192.0.2.1"),
    "ALB that keeps the port, IPv6": (1, ("[2001:db8::1]:41234",), "2001:db8::1"),
    "ALB in front of ingress-nginx": (2, ("6.6.6.6, 192.0.2.1, 10.0.3.4",), "192.0.2.1"),
    "GKE": (2, ("6.6.6.6,192.0.2.1,203.0.113.80",), "192.0.2.1"),
    "Azure Application Gateway": (1, ("6.6.6.6, 192.0.2.1:4001",), "192.0.2.1"),
    "Azure Application Gateway, IPv6": (1, ("[2001:db8::1]:4001",), "2001:db8::1"),
    "API Gateway": (1, ("192.0.2.1",), "192.0.2.1"),
    "a proxy that listens in both families": (1, ("::ffff:192.0.2.1",), "192.0.2.1"),
    "a proxy that writes entries as Forwarded does": (1, ('"[2001:db8::1]:4001"',), "2001:db8::1"),
}


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"host", b"chat.example.org"), *((b"x-forwarded-for", value.encode()) for value in forwarded)]
    return {"client": [peer, 1234] if peer else None, "headers": headers}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            (text, "192.0.2.1")
            for text in ("192.0.2.1", " 192.0.2.1\t", "192.0.2.1:4001", "[192.0.2.1]", '"192.0.2.1:1"')
        ),
        *((text, "192.0.2.1") for text in ("::ffff:192.0.2.1", "::FFFF:c000:201", "[::ffff:192.0.2.1]:4001")),
        *((text, "192.0.2.1") for text in ("64:ff9b::192.0.2.1", "2002:c000:201::1", "2002:c000:201:ffff::2")),
        *((text, "2001:db8::1") for text in ("2001:db8::1", "2001:0DB8:0:0::1", "[2001:db8::1]", "[2001:db8::1]:4001")),
        *((text, "fe80::1") for text in ("fe80::1%eth0", "[fe80::1%eth0]", "[fe80::1%25eth0]:4001", '"[fe80::1%1]"')),
        *((text, None) for text in ("", " ", '""', "unknown", "_hidden", "_SEVKISEK", "unix:", "localhost", "-")),
        *(
            (text, None)
            for text in ("192.0.2", "192.0.2.256", "010.0.0.1", "192.0.2.1/32", "192.0.2.1:port", "٣.0.2.1")
        ),
        *(
            (text, None)
            for text in ("[2001:db8::1", "2001:db8::1]", "2001:db8:::1", "[]", "[]:1", "%eth0", "1.2.3.4, 5.6.7.8")
        ),
    ],
)
def test_every_notation_of_an_address_is_read_and_nothing_else(text: str, expected: str | None) -> None:
    found = parsed(text)
    assert (None if found is None else str(found)) == expected


PORT = st.integers(1, 65_535).map(lambda port: f":{port}")
SPACE = st.sampled_from(["", " ", "\t "])


@given(st.ip_addresses(v=4), st.sampled_from(["", "::ffff:", "64:ff9b::"]), PORT, SPACE)
def test_an_ipv4_client_is_the_same_in_every_notation(address: IPv4Address, prefix: str, port: str, space: str) -> None:
    inner = f"{prefix}{address}"
    plain = [inner, f"[{inner}]", f"[{inner}]{port}", f'"[{inner}]{port}"', *([] if prefix else [f"{inner}{port}"])]
    assert {parsed(f"{space}{text}{space}") for text in plain} == {address}


@given(st.ip_addresses(v=6), PORT, st.from_regex(r"[a-z0-9.]{1,8}", fullmatch=True))
def test_an_ipv6_client_is_the_same_in_every_notation(address: IPv6Address, port: str, zone: str) -> None:
    own = address.ipv4_mapped or address.sixtofour or parsed(str(address))
    inner = [str(address), address.exploded, address.exploded.upper(), f"{address}%{zone}"]
    assert {parsed(text) for text in [*inner, *(f"[{text}]{port}" for text in inner)]} == {own}
    assert address in NAT64 or own in (address, address.ipv4_mapped, address.sixtofour)


@given(st.text())
def test_no_text_of_a_proxy_raises(text: str) -> None:
    parsed(text)
    client_address({"client": [PROXY, 1], "headers": [(b"x-forwarded-for", text.encode("utf-8", "ignore"))]})


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        *HEADERS.values(),
        (0, ("6.6.6.6",), PROXY),
        (2, ("1.2.3.4",), PROXY),
        (1, (), PROXY),
        *((1, (f"6.6.6.6, {unreadable}",), PROXY) for unreadable in ("<script>", "unknown", "_hidden", "unix:", "")),
        (2, ("6.6.6.6, unknown, 10.0.0.2",), "10.0.0.2"),
        (2, ("6.6.6.6", "unknown", "10.0.0.2:80"), "10.0.0.2"),
        (3, ("6.6.6.6, , , 10.0.0.3",), "10.0.0.3"),
    ],
)
def test_only_what_our_own_proxies_say_is_believed(
    settings: SettingsWrapper, proxies: int, forwarded: tuple[str, ...], expected: str
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    assert client_address(scope(PROXY, *forwarded)) == expected


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected", "doubted"),
    [
        (PROXY, ("192.0.2.1",), "192.0.2.1", False),
        (PROXY, ("6.6.6.6, 192.0.2.1, 10.0.0.2",), "192.0.2.1", True),
        (PROXY, ("6.6.6.6", "192.0.2.1:4001", "::ffff:10.0.0.2"), "192.0.2.1", True),
        ("fd00::1", ("2001:db8::1, [fd00::2]:80",), "2001:db8::1", False),
        ("::ffff:10.0.0.1", ("192.0.2.1",), "192.0.2.1", False),
        (PROXY, ("10.0.0.3, 10.0.0.2",), "10.0.0.3", False),  # a client in the trusted network itself
        (PROXY, ("6.6.6.6, unknown, 10.0.0.2",), "10.0.0.2", True),
        (PROXY, (), PROXY, False),
        (None, ("192.0.2.1",), "192.0.2.1", False),  # a proxy on a Unix socket is on this machine
        ("192.0.2.9", ("6.6.6.6",), "192.0.2.9", True),
        ("192.0.2.9", ("6.6.6.6, 10.0.0.2",), "192.0.2.9", True),
    ],
)
def test_trusted_networks_are_left_out_from_the_right(
    settings: SettingsWrapper, peer: str | None, forwarded: tuple[str, ...], expected: str, doubted: bool
) -> None:
    settings.TRUSTED_PROXIES = NETWORKS
    asked = scope(peer, *forwarded)
    assert (client_address(asked), client(asked).doubted) == (expected, doubted)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        (PROXY, "6.6.6.6, 192.0.2.1, 203.0.113.80", "192.0.2.1"),  # its load balancer is in no trusted network
        (PROXY, "6.6.6.6, 10.9.9.9, 10.0.0.2", "10.9.9.9"),  # and a client in one can't choose another address
        ("192.0.2.9", "6.6.6.6, 6.6.6.7", "192.0.2.9"),
    ],
)
def test_networks_and_a_count_say_who_is_believed_and_how_far(
    settings: SettingsWrapper, peer: str, forwarded: str, expected: str
) -> None:
    settings.TRUSTED_PROXIES, settings.TRUSTED_PROXY_COUNT = NETWORKS, 2
    assert client_address(scope(peer, forwarded)) == expected


@pytest.mark.parametrize(
    ("networks", "count", "peer"), [([], 0, PROXY), (NETWORKS, 0, "192.0.2.9"), (NETWORKS, 1, "192.0.2.9")]
)
def test_headers_of_a_stranger_are_removed_and_those_of_a_proxy_stay(
    settings: SettingsWrapper, networks: list[Any], count: int, peer: str
) -> None:
    settings.TRUSTED_PROXIES, settings.TRUSTED_PROXY_COUNT = networks, count
    asked = scope(peer, "6.6.6.6")
    own, forged = asked["headers"][:1], [(b"x-forwarded-proto", b"https"), (b"forwarded", b"for=6.6.6.6")]
    asked["headers"] += forged
    assert drop_untrusted_headers(asked) == {"client": [peer, 1234], "headers": own, DOUBTED: True}
    assert client(drop_untrusted_headers(asked)) == client(asked) == Client(pseudonym_of(peer), True, doubted=True)
    only_proto = {"client": [peer, 1], "headers": [*own, forged[0]]}
    assert drop_untrusted_headers(only_proto) == {"client": [peer, 1], "headers": own}
    plain = scope(peer)
    assert drop_untrusted_headers(plain) is plain
    settings.TRUSTED_PROXIES, settings.TRUSTED_PROXY_COUNT = [], 1
    assert drop_untrusted_headers(asked) is asked


def test_an_entry_that_can_not_be_read_is_logged_once_without_what_it_says(
    settings: SettingsWrapper, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_shapes", set())
    settings.TRUSTED_PROXY_COUNT = 1
    for hop in ("unknown", "2001:db8::zz", "_canary", "", "another", "300.1.1.1:80", "192.0.2.1.5"):
        client_address(scope(PROXY, hop))
    said = "X-Forwarded-For has an entry that is no address"
    assert [(record.getMessage(), vars(record)["shape"]) for record in caplog.records] == [
        (said, form) for form in ("a", "0:a0::a", "_a", "", "0.0.0.0:0", "0.0.0.0.0")
    ]
    for number in range(100):
        client_address(scope(PROXY, "-" * number + "!"))
    assert len(caplog.records) == 10


def test_an_address_is_known_by_a_pseudonym_and_an_ipv6_network_by_one() -> None:
    assert pseudonym(scope("10.0.0.1")) == pseudonym(scope("10.0.0.1")) != pseudonym(scope("10.0.0.2"))
    assert pseudonym(scope("2001:db8::1")) == pseudonym(scope("2001:db8::ffff")) != pseudonym(scope("2001:db8:0:1::1"))
    assert "10.0.0.1" not in pseudonym(scope("10.0.0.1"))


def test_ipv4_clients_of_a_socket_for_both_families_have_keys_of_their_own() -> None:
    """One key for all of them would let the first ten visitors in, and nobody else."""
    addresses = ("192.0.2.1", "192.0.2.2")
    assert [pseudonym(scope(f"::ffff:{address}")) for address in addresses] == [*map(pseudonym_of, addresses)]
    assert len({pseudonym(scope(f"fe80::{number}%eth0")) for number in range(3)}) == 3  # all hosts of one cable


def test_a_page_a_socket_and_axes_have_the_same_key(settings: SettingsWrapper) -> None:
    settings.TRUSTED_PROXY_COUNT = 1
    request = RequestFactory().get("/", REMOTE_ADDR="::ffff:10.0.0.1", HTTP_X_FORWARDED_FOR="6.6.6.6,192.0.2.1:4001")
    assert of_request(request) == str(IPv6Address(int(pseudonym_of("192.0.2.1"), 16)))
    assert pseudonym(scope("::ffff:10.0.0.1", "6.6.6.6,192.0.2.1:4001")) == pseudonym_of("192.0.2.1")


def test_what_is_no_address_has_no_key() -> None:
    for ask in (
        pseudonym_of,
        lambda text: drop_untrusted_headers(scope(text, "6.6.6.6")),
        lambda text: pseudonym(scope(text)),
    ):
        with pytest.raises(ValueError, match=r"no address: a-0"):
            ask("canary-17")


def test_a_block_of_an_address_outlives_its_pseudonym_and_its_key(settings: SettingsWrapper) -> None:
    before = pseudonym(scope("10.0.0.1"))
    assert before in pseudonyms_of("10.0.0.1")
    assert not pseudonyms_of("10.0.0.1") & pseudonyms_of("10.0.0.2")
    assert len(pseudonyms_of("10.0.0.1")) == 9  # of seven days, today and tomorrow
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the next key", [settings.SECRET_KEY]
    assert pseudonym(scope("10.0.0.1")) != before
    assert before in pseudonyms_of("10.0.0.1")
    settings.SECRET_KEY_FALLBACKS = []
    assert before not in pseudonyms_of("10.0.0.1")
