"""`messaging_drain` for connections that a gateway holds: clients are sent elsewhere, and no process ends."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from messaging.runtime import runtime
from messaging.service.contracts import ADMINS, USERS, StoreUnavailable
from messaging.service.service import RESTART_MS
from messaging.transports.apigateway import holder, invocation
from tests.support.gateway import Gate

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def at_once(settings: Settings) -> None:
    settings.SHUTDOWN_TIMEOUT = 0


def drain() -> str:
    """Return the output of the command."""
    output = StringIO()
    call_command("messaging_drain", stdout=output)
    return output.getvalue()


def test_everybody_is_told_to_come_back_and_closed(gate: Gate) -> None:
    people = [gate.visitor(), gate.visitor(), gate.admin()]
    assert drain() == "sent elsewhere: 3, connected now: 0\n"
    for connection in people:
        told = gate.api.frames[connection][-1]
        assert told["type"] == "serverShutdown"
        assert 0 <= told["reconnectAfterMs"] < RESTART_MS
        assert gate.state(connection) is None
    assert sorted(gate.api.closed) == sorted(people)
    assert gate.rows(ADMINS) == gate.rows(USERS) == []


def test_who_has_gone_without_a_word_is_forgotten(gate: Gate) -> None:
    gone, forgotten = gate.visitor(), gate.visitor()
    gate.api.always_answers(gone, 410)
    invocation.run(runtime.states.take(forgotten))
    assert drain() == "sent elsewhere: 2, connected now: 0\n"
    assert gate.api.closed == [forgotten]


def test_who_is_left_when_the_time_is_over_stays(gate: Gate, settings: Settings) -> None:
    settings.SHUTDOWN_TIMEOUT = -holder.DRAIN_RESERVE_SECONDS - 1  # the time is over before it begins
    visitor = gate.visitor()
    had = len(gate.api.frames[visitor])
    assert drain() == "sent elsewhere: 0, connected now: 1\n"
    assert (len(gate.api.frames[visitor]), gate.rows(USERS), gate.api.closed) == (had, [visitor], [])


def test_what_goes_wrong_with_one_keeps_nobody_else(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    unlucky, other = gate.visitor(), gate.visitor()
    states = runtime.states
    load = states.load

    async def failing(connection: str) -> object:
        if connection == unlucky:
            raise StoreUnavailable("throttled")
        return await load(connection)

    monkeypatch.setattr(states, "load", failing)
    assert drain() == "sent elsewhere: 1, connected now: 1\n"
    assert gate.api.closed == [other]


def test_a_table_that_does_not_answer_is_told_in_one_line(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(group: str) -> None:
        raise StoreUnavailable("the table is missing")

    monkeypatch.setattr(runtime.store, "get_connections", failing)
    with pytest.raises(CommandError, match=r"^connections: the table is missing$"):
        drain()
