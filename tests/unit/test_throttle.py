"""The limits of the service: what each request costs, whom it is charged to, and what a refusal says."""

from collections.abc import Awaitable, Callable, Sequence
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest

from messaging.backends.base import Bucket, Rate
from messaging.backends.memory import MemoryLimiter
from messaging.journal.journal import Journal
from messaging.protocol import frames
from messaging.protocol.codes import CloseCode, ErrorCode
from messaging.service.actions import Action, Close, Connection, Reply
from messaging.service.contracts import StoreUnavailable
from messaging.service.leases import LEASES, Leases
from messaging.service.throttle import WEIGHTS, Rates
from tests.support.clock import Clock
from tests.support.in_process_service import InProcessService, frame_of, in_process_service, refusal

pytestmark = pytest.mark.django_db(transaction=True)

UNLIMITED = Rates(visitor=None, admin=None, connection=None, address=None, conversations=None)
SLOW = 3600.0


def scope(actions: Sequence[Action]) -> str | None:
    """Return the limit that has refused a frame, or None."""
    first = actions[0]
    return first.frame.scope if isinstance(first, Reply) and isinstance(first.frame, frames.Error) else None


async def entered(service: InProcessService, address: str = "hall") -> Connection:
    """Return a connection whose handshake was admitted."""
    connection = Connection(uuid4().hex, address=address)
    assert await service.admit(connection) is None
    return connection


async def visitor(service: InProcessService, address: str = "hall") -> Connection:
    connection = await entered(service, address)
    assert scope(await service.send(connection, "identify", type="user", v=2)) is None
    return connection


async def say(service: InProcessService, connection: Connection, content: str = "hello", **fields: str) -> str | None:
    return scope(await service.send(connection, "sendMessage", id=uuid4().hex, content=content, **fields))


def per_address(*requests: int) -> Rates:
    """Return limits by which one address has the costs in `requests`, and half a unit every hour after that."""
    return Rates(None, None, None, Rate(sum(requests), SLOW), None)


HANDSHAKE, IDENTIFY, MESSAGE = WEIGHTS["handshake"], WEIGHTS[frames.Identify], WEIGHTS[frames.SendMessage]


async def test_all_visitors_of_an_address_share_a_budget_and_no_other_address_has_less() -> None:
    async with in_process_service(rates=per_address(2 * HANDSHAKE, 2 * IDENTIFY, 3 * MESSAGE)) as service:
        ada, bob = await visitor(service), await visitor(service)
        elsewhere = await visitor(service, "café")
        assert [await say(service, one) for one in (ada, bob, ada, bob, ada)] == [None] * 3 + ["address"] * 2
        assert await service.admit(Connection("c", address="hall")) == "address"
        assert [await say(service, elsewhere) for _ in range(3)] == [None] * 3


@pytest.mark.parametrize(("seconds", "least", "most"), [(60.0, 60_000, HANDSHAKE * 60_000), (0.001, 1_000, 1_000)])
async def test_a_refused_handshake_is_told_when_its_address_has_enough_again(
    seconds: float, least: int, most: int
) -> None:
    async with in_process_service(rates=Rates(None, None, None, Rate(HANDSHAKE, seconds), None)) as service:
        await entered(service)
        late = Connection(uuid4().hex, address="hall")
        answer, closing = await service.connect(late, await service.admit(late))
        error = frame_of(answer, frames.Error)
        assert (error.code, error.scope, closing) == ("rate_limited", "address", Close(CloseCode.RATE_LIMITED))
        assert least <= (error.retry_after_ms or 0) <= most


async def test_every_frame_and_every_handshake_costs(service: InProcessService) -> None:
    costs = {"ping": frames.Ping, "history": frames.History, "read": frames.MarkRead, "forget": frames.Forget}
    for action, kind in costs.items():
        async with in_process_service(rates=per_address(HANDSHAKE, IDENTIFY, 2 * WEIGHTS[kind])) as limited:
            someone = await visitor(limited)
            fields = {"id": "i", "upTo": str(uuid4())}
            refused = [scope(await limited.send(someone, action, **fields)) for _ in range(3)]
            assert (action, refused) == (action, [None, None, "address"])
    for senseless in ("{", '{"action":"dance"}', "[]", "\N{GHOST}"):
        async with in_process_service(rates=per_address(HANDSHAKE, IDENTIFY, WEIGHTS["refused"])) as limited:
            someone = await visitor(limited)
            assert [scope(await limited.receive(someone, senseless)) for _ in range(2)] == [None, "address"]


async def test_a_page_of_history_costs_by_its_size() -> None:
    async def pages(messages: int, length: int) -> int:
        """Return how many pages an address gets for 300 units."""
        setup = HANDSHAKE + IDENTIFY + messages * MESSAGE
        async with in_process_service(rates=per_address(setup, 300)) as service:
            someone = await visitor(service)
            for number in range(messages):
                assert await say(service, someone, f"{number} ".ljust(length, "x")) is None
            for number in range(300):
                if scope(await service.send(someone, "history", id="h", limit=100)):
                    return number
        raise AssertionError("no page was refused")

    assert [await pages(0, 0), await pages(30, 10), await pages(30, 2_000)] == [30, 14, 10]


async def test_a_refused_frame_is_not_free() -> None:
    rates = Rates(None, None, None, Rate(1_000, 1.0), None)
    async with in_process_service(rates=rates) as service:
        someone = await visitor(service)
        while not scope(await service.send(someone, "ping")):
            pass
        service.clock.advance(60)
        for _ in range(10):
            assert scope(await service.send(someone, "ping")) is None
        others = [Connection(uuid4().hex, address="hall") for _ in range(500)]
        while await service.admit(others.pop()) is None:
            pass
        refused = [await service.admit(one) for one in others]
        assert refused == ["address"] * len(others)
        service.clock.advance(60)  # what a tenth of the budget owes is paid first
        assert await service.admit(Connection("c", address="hall")) == "address"
        service.clock.advance(60)
        assert await service.admit(Connection("c", address="hall")) is None


async def test_a_connection_has_a_budget_of_its_own_and_is_closed_if_it_goes_on() -> None:
    cost = WEIGHTS[frames.History]
    async with in_process_service(rates=Rates(None, None, Rate(10 * cost + IDENTIFY, SLOW), None, None)) as service:
        greedy, other = await visitor(service), await visitor(service)
        answers = [await service.send(greedy, "history", id="h") for _ in range(30)]
        assert [scope(one) for one in answers] == [None] * 10 + ["connection"] * 20
        assert refusal(answers[-1]) == (ErrorCode.RATE_LIMITED, CloseCode.RATE_LIMITED)
        assert scope(await service.send(other, "history", id="h")) is None


async def test_staff_spend_nothing_of_the_budget_of_their_address() -> None:
    async with in_process_service(rates=per_address(HANDSHAKE, IDENTIFY, MESSAGE)) as service:
        ada = await visitor(service)
        assert [await say(service, ada) for _ in range(2)] == [None, "address"]
        staff = await service.admin("view_message", "add_message")
        staff.address = "hall"
        for _ in range(20):
            assert scope(await service.send(staff, "history", id="h")) is None
            assert await say(service, staff, to=ada.conversation or "") is None


async def test_a_connection_with_a_pass_is_staff_until_it_says_otherwise() -> None:
    async with in_process_service(rates=per_address(HANDSHAKE, IDENTIFY, MESSAGE)) as service:
        ada = await visitor(service)
        assert [await say(service, ada) for _ in range(2)] == [None, "address"]
        with_pass = Connection(uuid4().hex, address="hall", has_pass=True)
        assert scope(await service.send(with_pass, "identify", type="user", v=2)) is None
        assert await say(service, with_pass) == "address"


async def test_an_address_begins_so_many_conversations_and_goes_on_with_those_that_it_has() -> None:
    async with in_process_service(rates=Rates(None, None, None, None, Rate(2, SLOW))) as service:
        people = [await visitor(service) for _ in range(3)]
        assert [await say(service, one) for one in people] == [None, None, "conversations"]
        assert [await say(service, one) for one in people] == [None, None, "conversations"]
        assert await say(service, await visitor(service, "café")) is None
        service.clock.advance(SLOW)
        assert await say(service, people[2]) is None


async def test_a_visitor_who_comes_back_begins_no_conversation(service: InProcessService) -> None:
    async with in_process_service(rates=Rates(None, None, None, None, Rate(1, SLOW))) as limited:
        first = await entered(limited)
        _, identified = await limited.send(first, "identify", type="user", v=2)
        assert isinstance(identified, Reply)
        assert isinstance(identified.frame, frames.Identified)
        token = identified.frame.token
        assert await say(limited, first) is None
        again = await entered(limited)
        await limited.send(again, "identify", type="user", v=2, token=token)
        assert await say(limited, again) is None
        await limited.send(again, "forget", id="f")
        assert await say(limited, again) == "conversations"


async def test_an_attempt_that_begins_no_conversation_costs_the_address_none(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = Rates(visitor=Rate(4, SLOW), admin=None, connection=None, address=None, conversations=Rate(2, SLOW))
    async with in_process_service(rates=rates) as service:
        people = [await visitor(service) for _ in range(5)]
        manager = await service.admin("view_message", "add_block", "delete_block")
        message = {"id": "the-first", "content": "hello"}

        async def attempts() -> set[tuple[object, ...]]:
            return {refusal(await service.send(one, "sendMessage", **message)) for one in people}

        await service.send(manager, "pause", id="p", op="pause")
        assert [await attempts() for _ in range(3)] == [{(ErrorCode.PAUSED,)}] * 3
        await service.send(manager, "pause", id="r", op="resume")
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "append", AsyncMock(side_effect=StoreUnavailable("a failover")))
            assert await attempts() == {(ErrorCode.UNAVAILABLE,)}
        assert [await say(service, one) for one in people] == ["visitor"] * 5
        newcomers = [await visitor(service) for _ in range(3)]
        assert [await say(service, one) for one in newcomers] == [None, None, "conversations"]


async def test_a_conversation_that_is_begun_twice_under_the_same_id_costs_the_address_one() -> None:
    async with in_process_service(rates=Rates(None, None, None, None, Rate(2, SLOW))) as service:
        first = await visitor(service)
        for _ in range(3):
            first.has_written = False  # the ack was lost, and with it what the process knew
            assert scope(await service.send(first, "sendMessage", id="the-first", content="hello")) is None
        assert await say(service, await visitor(service)) is None


class Counting(MemoryLimiter):
    """A limiter that notes what is taken."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.taken: list[int] = []

    async def take(self, bucket: Bucket) -> float:
        self.taken.append(bucket.cost)
        return await super().take(bucket)


async def test_a_process_asks_the_backend_once_for_many_frames() -> None:
    limiter = Counting(clock := Clock())
    leases, rate = Leases(limiter, clock), Rate(100 * LEASES, 1.0)
    for _ in range(20):
        assert await leases.take(Bucket("hall", rate, 10)) == 0
    assert limiter.taken == [100, 100]
    assert await leases.take(Bucket("hall", rate, 101)) == 0
    assert limiter.taken == [100, 100, 101]


async def test_while_the_backend_refuses_it_is_not_asked_again() -> None:
    limiter = Counting(clock := Clock())
    leases, one = Leases(limiter, clock), Bucket("hall", Rate(3, 10.0))
    assert [await leases.take(one) for _ in range(5)] == [0, 0, 0, 10, 10]
    assert limiter.taken == [1] * 4
    clock.advance(10)
    assert [await leases.take(one) for _ in range(2)] == [0, 10]


async def test_what_processes_leave_unspent_is_a_small_part_of_the_budget() -> None:
    limiter = Counting(clock := Clock())
    rate = Rate(100 * LEASES, 1.0)
    for _ in range(100):
        assert await Leases(limiter, clock).take(Bucket("hall", rate)) == 0
    assert sum(limiter.taken) == rate.burst // 5


async def test_what_is_given_back_can_be_taken_again_but_never_more_than_the_budget() -> None:
    limiter = Counting(clock := Clock())
    leases, one = Leases(limiter, clock), Bucket("hall", Rate(3, 10.0))
    assert [await leases.take(one) for _ in range(4)] == [0, 0, 0, 10]
    for _ in range(5):
        leases.give_back(one)
    assert [await leases.take(one) for _ in range(4)] == [0, 0, 0, 10]
    assert limiter.taken == [1] * 4


class CountedKey(str):
    """A key that counts how often keys of its class are hashed: each access to a dict does so once."""

    __slots__ = ()
    hashed = 0

    def __hash__(self) -> int:
        CountedKey.hashed += 1
        return super().__hash__()


async def most_accesses(take: Callable[[Bucket], Awaitable[float]], number: int) -> int:
    """Return the most accesses that any of `number` takes makes, each from a new bucket that stays in use."""
    most = 0
    for index in range(number):
        CountedKey.hashed = 0
        assert await take(Bucket(CountedKey(f"conversations:{index}"), Rate(1_500, 2.0))) == 0
        most = max(most, CountedKey.hashed)
    return most


async def test_no_call_takes_longer_because_many_buckets_are_in_use() -> None:
    limiter = MemoryLimiter(Clock())
    assert await most_accesses(limiter.take, 100_010) < 12


async def test_full_buckets_are_forgotten_and_others_are_not() -> None:
    limiter = MemoryLimiter(clock := Clock())
    slow = Bucket("slow", Rate(2, 1_000.0), cost=2)
    assert limiter.take_now(slow) == 0
    for number in range(1_000):
        assert limiter.take_now(Bucket(f"before-{number}", Rate(1, 10.0))) == 0
    clock.advance(11)
    for number in range(1_002):
        assert limiter.take_now(Bucket(f"after-{number}", Rate(1, 10.0))) == 0
    assert len(limiter._full_at) == 1_003
    assert limiter.take_now(slow) > 0


async def test_a_process_keeps_so_many_leases_and_gets_no_slower_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("messaging.service.leases.KEYS", 100)
    limiter = Counting(clock := Clock())
    leases, lasting = Leases(limiter, clock), Bucket("hall", Rate(100 * LEASES, 1.0))

    async def take(bucket: Bucket) -> float:
        assert await leases.take(lasting) == 0
        return await leases.take(bucket)

    assert await most_accesses(take, 200) < 20
    assert len(leases._leases) == 100
    assert limiter.taken.count(100) == 2  # the lease that was used all the time has been kept
