"""The states of conversations: read positions, claims, blocks, whether they are closed or erased.

Clients order states by `changed_at`, which grows with every change, whichever process makes it (`next_version`).
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Greatest, Least, Now

from messaging.journal.reader import OVERLAP
from messaging.models import (
    AddressBlock,
    Block,
    Conversation,
    ErasedConversation,
    Message,
    a_day_from_now,
    display_name,
)
from messaging.protocol.fields import Op, Role, StaffId
from messaging.service.contracts import (
    AddressUnknown,
    AlreadyClaimed,
    Claim,
    ConversationNotFound,
    ConversationState,
    Cursor,
    MessageNotFound,
    staff_id,
)

CHANGES = 1_000  # limit of states per query: a client that was away gets the newest ones
ERASED_DAYS = 31  # longer than a visitor's token is valid
TOLD = 100  # when an address is blocked or free again, the newest of its conversations are told at once


def next_version(last: F | Value) -> Greatest:
    """Return the time of a change made now: after `last`, even if the database's clock was set back since then."""
    after = ExpressionWrapper(Coalesce(last, Now()) + timedelta(milliseconds=1), DateTimeField())
    return Greatest(Now(), after)


def states(ids: Collection[str]) -> tuple[ConversationState, ...]:
    """Return the current states of these conversations, at most CHANGES. Unknown ones are left out."""
    return _states(Q(pk__in=ids)) if ids else ()


def changed(since: Cursor, until: Cursor | None) -> tuple[ConversationState, ...]:
    """Return the current states of the conversations that changed, or were erased, between two places in the journal.

    Of those that changed, at most CHANGES are returned. `until` None: up to now. An OVERLAP before `since` is included,
    because a change may have begun then and been committed later.
    """
    # `since` is in the future if the database's clock was set back.
    start = ExpressionWrapper(Least(Value(_moment(since)), Now()) - OVERLAP, DateTimeField())
    span: list[tuple[str, object]] = [("gte", start)] + ([("lte", _moment(until))] if until else [])
    found = _states(Q(*((f"changed_at__{bound}", moment) for bound, moment in span)))
    erased = ErasedConversation.objects.filter(*((Q((f"erased_at__{bound}", moment))) for bound, moment in span))
    return found + _erased(erased)


def erased(ids: Collection[str]) -> dict[str, tuple[ConversationState, ...]]:
    """Return, by conversation, its state if it was erased, and an empty tuple if not."""
    found = {state.conversation: (state,) for state in _erased(ErasedConversation.objects.filter(pk__in=ids))}
    return {id: found.get(id, ()) for id in ids}


def read_by_staff(conversation: str) -> Cursor | None:
    """Return the cursor of the newest message that staff have read; None if there is none."""
    row: Any = _with_places(Conversation.objects.filter(pk=conversation)).first()
    return _place(row.read_by_staff, row.staff_read_at) if row else None


def mark_read(conversation: str, message_id: str, by: Role) -> tuple[Cursor, bool]:
    """Move one side's read position forward to a message. Return its cursor, and whether the position has moved.

    Raise MessageNotFound if the conversation has no such message.
    """
    rows = Message.objects.filter(id=message_id, conversation_id=conversation)
    place = rows.values_list("seq", "created_at").first()
    if place is None:
        raise MessageNotFound(message_id)
    field = "read_by_staff" if by == "admin" else "read_by_visitor"
    behind = Conversation.objects.filter(pk=conversation, **{f"{field}__lt": place[0]})
    moved = behind.update(**{field: place[0], "changed_at": next_version(F("changed_at"))})
    return Cursor.of(*place), bool(moved)


@transaction.atomic
def change(conversation: str, op: Op, staff: StaffId, lease: timedelta) -> tuple[tuple[ConversationState, ...], bool]:
    """Do `op` for a staff member. Return the states that it concerns, after it, and whether anything has changed.

    The first state is that of `conversation`; if its address is blocked or free again, those of the newest
    conversations from there follow. A claim lasts for `lease`. Raise ConversationNotFound if there is no such
    conversation, AlreadyClaimed if `op` is not possible because of another staff member's claim, AddressUnknown.
    """
    ids = _locked(conversation, op)
    (before,) = states([conversation])
    if op in ("claim", "release", "close") and before.claim is not None and before.claim.staff != staff:
        raise AlreadyClaimed(before.claim.name)
    fields = _apply(before, op, staff, lease)
    if fields is None:
        return (before,), False
    Conversation.objects.filter(pk__in=ids).update(changed_at=next_version(F("changed_at")), **fields)
    _note(conversation, op, staff)
    return tuple(sorted(states(ids), key=lambda state: state.conversation != conversation)), True


def _locked(conversation: str, op: Op) -> list[str]:
    """Lock the conversation and, if `op` concerns its address, the newest others from there. Return their ids."""
    address = Conversation.objects.filter(pk=conversation).values_list("address", flat=True).first()
    if address is None:
        raise ConversationNotFound(conversation)
    ids = [conversation]
    is_freed = op == "unblock" and AddressBlock.objects.filter(address=address).exists()
    if op == "blockAddress" or is_freed:
        ids += map(str, newest_from(address).exclude(pk=conversation).values_list("pk", flat=True)[:TOLD])
    # In the order in which writers lock them, so that nobody waits for each other.
    rows = Conversation.objects.select_for_update().filter(pk__in=ids).order_by("pk")
    locked = [str(id) for id in rows.values_list("pk", flat=True)]
    if conversation not in locked:
        raise ConversationNotFound(conversation)
    return locked


def newest_from(address: str) -> QuerySet[Conversation]:
    """Return the conversations whose visitors wrote from an address last, given by a pseudonym, the newest first."""
    return Conversation.objects.filter(address=address).exclude(address="").order_by("-last_message_at")


def _apply(before: ConversationState, op: Op, staff: StaffId, lease: timedelta) -> dict[str, object] | None:
    """Return the columns that `op` sets; None if `op` changes nothing. Blocks are separate rows, written here."""
    unclaimed: dict[str, object] = {"claimed_by": None, "claimed_until": None}
    match op:
        case "claim" if before.claim is None:
            return {"claimed_by": staff, "claimed_until": Now() + lease}
        case "release" if before.claim is not None:
            return unclaimed
        case "close" if before.status == "open":
            return unclaimed | {"closed_at": Now()}
        case "reopen" if before.status == "closed":
            return {"closed_at": None}
        case "block" | "blockAddress":
            until = {"until": a_day_from_now()}
            if op == "blockAddress":
                AddressBlock.objects.update_or_create(address=_address(before.conversation), defaults=until)
            Block.objects.update_or_create(conversation_id=before.conversation, defaults=until)
            return {}
        case "unblock" if _unblock(before.conversation):
            return {}
    return None


def _address(conversation: str) -> str:
    address: str = Conversation.objects.values_list("address", flat=True).get(pk=conversation)
    if not address:
        raise AddressUnknown(conversation)
    return address


def _unblock(conversation: str) -> bool:
    """End the block of the visitor, and that of its address. Return whether there was one."""
    address = Conversation.objects.filter(pk=conversation).values("address")
    blocks = (Block.objects.filter(conversation_id=conversation), AddressBlock.objects.filter(address__in=address))
    return sum(rows.delete()[0] for rows in blocks) > 0


def _note(conversation: str, op: Op, staff: StaffId) -> None:
    """Record `op` in Django's LogEntry table, which the Django admin shows as the conversation's history."""
    LogEntry.objects.create(
        user_id=staff,
        content_type_id=ContentType.objects.get_for_model(Conversation).pk,
        object_id=conversation,
        object_repr=str(Conversation(id=UUID(conversation))),
        action_flag=CHANGE,
        change_message=op,
    )


def renew_claims(staff: StaffId, lease: timedelta) -> None:
    """Let a staff member's valid claims last for `lease` from now."""
    mine = Q(claimed_by=staff)  # not typed: mypy knows only Django's own user model
    held = Conversation.objects.filter(mine, claimed_until__gt=Now())
    held.update(claimed_until=Now() + lease)


def lapsed_claims() -> tuple[ConversationState, ...]:
    """End the claims that have expired; return the states of their conversations, each to one process only."""
    over = Conversation.objects.filter(claimed_until__lte=Now())
    if not over.exists():
        return ()
    with transaction.atomic():
        ids = [str(id) for id in over.select_for_update(skip_locked=True).values_list("pk", flat=True)]
        ended = {"claimed_by": None, "claimed_until": None, "changed_at": next_version(F("changed_at"))}
        Conversation.objects.filter(pk__in=ids).update(**ended)
        return states(ids)


@transaction.atomic
def erase(conversation: str) -> ConversationState | None:
    """Erase a conversation with all that belongs to it. Return its state; None if there is no such conversation.

    A block of its visitor goes on (messaging.journal.blocks.successor).
    """
    row = Conversation.objects.select_for_update().filter(pk=conversation).first()
    if row is None:
        return None
    ErasedConversation.objects.filter(erased_at__lt=Now() - timedelta(days=ERASED_DAYS)).delete()
    block = Block.objects.filter(conversation_id=conversation, until__gt=Now()).first()
    erasure = ErasedConversation(
        id=conversation,
        erased_at=next_version(Value(row.changed_at, DateTimeField())),
        blocked_until=block.until if block else None,
    )
    ErasedConversation.objects.bulk_create([erasure], ignore_conflicts=True)
    row.delete()
    (state,) = erased([conversation])[conversation]
    return state


@transaction.atomic
def rehearse() -> None:
    """Write a row and roll it back.

    A read would prove less: a standby answers it, and so does a database whose disk is full.
    """
    Conversation.objects.create()
    transaction.set_rollback(True)


def _states(wanted: Q) -> tuple[ConversationState, ...]:
    address_block = AddressBlock.objects.filter(address=OuterRef("address"))
    any_address_block = Exists(AddressBlock.objects.filter(until__gt=Now()))
    rows = (
        _with_places(Conversation.objects.filter(wanted))
        .select_related("claimed_by", "block")
        .annotate(now=Now(), address_until=Subquery(address_block.values("until")), any_block=any_address_block)
    )
    return tuple(_state(row) for row in rows.order_by("-changed_at")[:CHANGES])


def _with_places(rows: QuerySet[Conversation]) -> QuerySet[Conversation]:
    """Annotate `rows` with the times of the messages that were read last, which the cursors need."""

    def sent(number: str) -> Subquery:
        return Subquery(Message.objects.filter(seq=OuterRef(number)).values("created_at"))

    return rows.annotate(staff_read_at=sent("read_by_staff"), visitor_read_at=sent("read_by_visitor"))


def _state(row: Any) -> ConversationState:
    """Return the state in `row`, a conversation with the annotations of `_states`."""
    ends = (row.block.until if hasattr(row, "block") else None, row.address_until)
    until = max((end for end in ends if end), default=None)
    blocked_until = until if until and until > row.now else None
    claimed = row.claimed_until is not None and row.claimed_until > row.now
    person = row.claimed_by if claimed else None
    return ConversationState(
        conversation=str(row.id),
        status="open" if row.closed_at is None else "closed",
        changed_at=row.changed_at,
        claim=Claim(staff_id(person.pk), display_name(person)) if person else None,
        blocked_until=blocked_until,
        may_write=blocked_until is None and not row.any_block,
        read_by_staff=_place(row.read_by_staff, row.staff_read_at),
        read_by_visitor=_place(row.read_by_visitor, row.visitor_read_at),
    )


def _erased(rows: "Iterable[ErasedConversation]") -> tuple[ConversationState, ...]:
    return tuple(ConversationState(str(row.id), "erased", row.erased_at) for row in rows)


def _place(seq: int, sent_at: datetime | None) -> Cursor | None:
    """Return the cursor of message number `seq`; None for 0. A deleted message keeps its place in the order."""
    if not seq:
        return None
    return Cursor(seq, 0) if sent_at is None else Cursor.of(seq, sent_at)


def _moment(cursor: Cursor) -> datetime:
    return datetime.fromtimestamp(cursor.ms / 1000, UTC)
