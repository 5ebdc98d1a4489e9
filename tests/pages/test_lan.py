"""`make run LAN=1`: the site on this machine's address in its network, opened from there as a phone does."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from playwright.sync_api import expect

from messaging.operations import lan
from tests.support.browser import BUTTON, PHONE, People, log_in, sent, status, wait_for_thread
from tests.support.deployments import LocalServer, says_ready
from tests.support.paths import ROOT
from tests.support.services import HOST, started


class OnTheLan(LocalServer):
    """The server of `make run LAN=1`, which listens on another address than HOST."""

    address = ""

    def command(self) -> Sequence[str]:
        return [sys.executable, "manage.py", "runserver", "--noreload", "--lan", "1", f"{HOST}:{self.port}"]

    @property
    def origin(self) -> str:
        return f"http://{self.address}:{self.port}"

    def is_ready(self) -> bool:
        return says_ready(self.port, self.address)


@pytest.fixture
def server(prepared_database: Path) -> Iterator[OnTheLan]:
    server = OnTheLan()
    try:
        server.address = lan.own_address()
    except lan.NoNetwork as error:
        pytest.skip(f"this machine is in no network: {error}")
    shutil.copy(prepared_database, server.directory)
    with started(server):
        yield server


def test_make_run_passes_the_option_on() -> None:
    command = ["make", "--no-print-directory", "-n", "run", "LAN=1"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert made.splitlines()[-1].endswith("manage.py runserver --lan 1 127.0.0.1:8000")


def test_a_phone_opens_the_address_that_is_printed_and_shown_on_the_stage(server: OnTheLan, people: People) -> None:
    url = f"{server.origin}/user/"
    assert f"visitors open {url}\n{lan.in_terminal(url)}" in server.log
    stage = people.profile().new_page()
    stage.goto(f"{server.origin}/admin/live/?view=stage")
    log_in(stage, "operator")
    expect(status(stage)).to_have_text("Live")
    expect(stage.get_by_text(url)).to_be_visible()
    expect(stage.get_by_role("img", name="QR code for the address below")).to_be_visible()
    phone = people.visitor(server.origin, viewport=PHONE)
    phone.get_by_role("button", name=BUTTON).click()
    wait_for_thread(phone, *sent("speak german"))
    expect(stage.locator("#tally-rows tr")).to_have_text(re.compile(r"Please speak German\s*1\s*1"))


def test_only_that_address_is_listened_on(server: OnTheLan) -> None:
    with pytest.raises(ConnectionRefusedError), socket.create_connection((HOST, server.port), timeout=5):
        pass


def test_a_machine_without_a_network_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lan, "ELSEWHERE", ("255.255.255.255", 9))  # the kernel refuses it without SO_BROADCAST
    with pytest.raises(CommandError, match=r"^This machine is in no network \(.*make run LAN=192\.168\.137\.1$"):
        call_command("runserver", "--lan", "1")


@pytest.mark.parametrize("given", ["wlan0", "fd00::2", "203.0.113.7"])
def test_only_an_address_of_this_machine_can_be_given(given: str) -> None:
    with pytest.raises(CommandError, match=f"LAN='{given}' must be 1, or an IPv4 address of this machine"):
        call_command("runserver", "--lan", given)
