"""Blocks and the pause: visitors and addresses that may not write, and whether a conversation may begin."""

from collections.abc import Collection
from uuid import UUID, uuid4, uuid5

from django.contrib.admin.models import ADDITION, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import TextField, Value
from django.db.models.functions import Cast, Now

from messaging.journal.sharing import ThreadCache
from messaging.models import (
    AddressBlock,
    Block,
    Conversation,
    ErasedConversation,
    Pause,
    a_pause_from_now,
    display_name,
)
from messaging.protocol.fields import PauseOp, StaffId
from messaging.protocol.frames import Writing
from messaging.service.contracts import Barriers, PauseState


def barriers() -> Barriers:
    """Return what keeps visitors from writing now. One query, unless there is a pause."""
    visitors = Block.objects.filter(until__gt=Now()).annotate(key=Cast("conversation_id", TextField()))
    addresses = AddressBlock.objects.filter(until__gt=Now()).annotate(key=Cast("address", TextField()))
    pauses = Pause.objects.filter(until__gt=Now()).annotate(key=Value("", TextField()))
    kinds = {"visitor": visitors, "address": addresses, "pause": pauses}
    first, *others = (
        rows.order_by().annotate(kind=Value(kind, TextField())).values_list("kind", "key")
        for kind, rows in kinds.items()
    )
    found: dict[str, set[str]] = {kind: set() for kind in kinds}
    for kind, key in first.union(*others, all=True):
        found[kind].add(key)
    return Barriers(
        frozenset(str(UUID(key)) for key in found["visitor"]),
        frozenset(found["address"]),
        pause() if found["pause"] else None,
    )


recent_barriers = ThreadCache(barriers, Block, AddressBlock, Pause)


def writing(visitor: str | None, addresses: frozenset[str]) -> Writing:
    """Return whether the visitor (None: a new one), at an address with these pseudonyms, may write: for pages."""
    found = recent_barriers.value()
    if found.block(visitor, addresses):
        return "blocked"
    return "paused" if found.pause and not (visitor and begun([visitor])) else "open"


def pause() -> PauseState | None:
    """Return the pause, if new conversations are paused now."""
    row = Pause.objects.filter(until__gt=Now()).select_related("by").first()
    return PauseState(row.since, row.until, display_name(row.by) if row.by else "") if row else None


def begun(visitors: Collection[str]) -> frozenset[str]:
    """Return those of `visitors` whose conversation has begun."""
    return frozenset(map(str, Conversation.objects.filter(pk__in=visitors).order_by().values_list("pk", flat=True)))


def remove_ended_pause() -> None:
    """Make room for a new pause: there is one row at most."""
    Pause.objects.filter(until__lte=Now()).delete()


@transaction.atomic
def change_pause(op: PauseOp, staff: StaffId) -> tuple[PauseState | None, bool]:
    """Begin or end the pause for a staff member. Return the pause after it, and whether anything has changed.

    A pause that has begun already keeps its end, and the name of whoever began it.
    """
    remove_ended_pause()
    if op == "pause":
        begun_now = {"until": a_pause_from_now(), "by_id": staff}
        row, changed = Pause.objects.get_or_create(pk=Pause.ONLY, defaults=begun_now)
    else:
        changed = Pause.objects.all().delete()[0] > 0
        row = Pause()
    if changed:
        LogEntry.objects.create(
            user_id=staff,
            content_type_id=ContentType.objects.get_for_model(Pause).pk,
            object_id=str(Pause.ONLY),
            object_repr=str(row),
            action_flag=ADDITION if op == "pause" else DELETION,
        )
    return pause(), changed


def sharing(conversation: str) -> int | None:
    """Return how many other conversations are known to come from the address of `conversation`.

    They are those of the same day, for which its pseudonym is the same: there may be more. Return None if its address
    is not known: nobody has written in it lately.
    """
    address = Conversation.objects.filter(pk=conversation).values_list("address", flat=True).first()
    if not address:
        return None
    return Conversation.objects.filter(address=address).exclude(pk=conversation).count()


@transaction.atomic
def successor(erased: str) -> str:
    """Return the id of the visitor that an erased one becomes. A block of the erased one goes over to it.

    With a block it is always the same id, however often the old token is shown. One whose block staff have ended stays
    free.
    """
    note = ErasedConversation.objects.filter(pk=erased, blocked_until__gt=Now()).first()
    if note is None or note.blocked_until is None:
        return str(uuid4())
    heir = uuid5(note.id, "successor")
    if ErasedConversation.objects.filter(pk=heir).exists():
        return successor(str(heir))
    _, is_new = Conversation.objects.get_or_create(pk=heir)
    if is_new:
        Block.objects.create(conversation_id=heir, until=note.blocked_until)
    return str(heir)
