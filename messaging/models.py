"""The database models: conversations, messages, blocks, the pause, quick messages, logins, notes of erased ones."""

import os
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Cast, Now, Right
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from messaging.protocol.limits import CONTENT_LIMIT
from messaging.service.contracts import PRINCIPAL_LIMIT

NAME_LIMIT = 150  # characters of an author's name


def uuid7() -> uuid.UUID:
    """Return a time-ordered id (RFC 9562 section 5.7): 48 bits of Unix ms, then random ones.

    New rows are neighbours in an index.
    """
    return next(uuid7s(1))


def uuid7s(count: int) -> Iterator[uuid.UUID]:
    """Yield `count` ids of that kind, with one system call for all.

    During each system call, another thread may take the interpreter's lock for milliseconds.
    """
    now, random = time.time_ns() // 1_000_000 << 80, os.urandom(10 * count)
    for start in range(0, 10 * count, 10):
        value = now | int.from_bytes(random[start : start + 10], "big")
        yield uuid.UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def public_name(user: Any) -> str:
    """Return the name under which visitors read the messages of a staff member; "" if the account has none.

    Visitors never read a login name or an e-mail address. `user`: of the user model, which may lack these methods.
    """
    for method in ("get_full_name", "get_short_name"):
        name = str(getattr(user, method, str)() or "").strip()
        if name and name != user.get_username() and "@" not in name:
            return name[:NAME_LIMIT]
    return ""


def display_name(user: Any) -> str:
    """Return the name of a staff member for other staff. `user`: of the user model."""
    return public_name(user) or str(user.get_username())


BLOCK_DAYS = 7  # the longest block of an address: for as many days back, clients are recognised (client_address.py)
PSEUDONYM_LENGTH = 24  # characters
PAUSE = timedelta(hours=1)


def a_day_from_now() -> datetime:
    return timezone.now() + timedelta(days=1)


def a_pause_from_now() -> datetime:
    return timezone.now() + PAUSE


def no_longer_than_an_address_is_known(until: datetime) -> None:
    if until > timezone.now() + timedelta(days=BLOCK_DAYS):
        raise ValidationError(_("An address can be blocked for at most %(days)d days."), params={"days": BLOCK_DAYS})


ENDING = Right(Cast("id", models.TextField()), 6)  # of a conversation's id; its visitor's name is made from it


class Conversation(models.Model):
    """One visitor's thread; its id is the visitor's id. It begins with the first message."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    last_message_at = models.DateTimeField(_("last message"), db_default=Now(), editable=False, db_index=True)
    # The last change of the state: of the fields below (except the renewal of a claim), or of the block. Clients order
    # states by it.
    changed_at = models.DateTimeField(_("changed"), null=True, editable=False, db_index=True)
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True, editable=False)
    # A claim counts until `claimed_until`, which the pings of the claimer's connections extend.
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("claimed by"),
    )
    claimed_until = models.DateTimeField(_("claimed until"), null=True, blank=True, editable=False)
    # The number (`seq`) of the newest message that was read; 0: none.
    read_by_staff = models.BigIntegerField(_("read by staff"), default=0, db_default=0, editable=False)
    read_by_visitor = models.BigIntegerField(_("read by the visitor"), default=0, db_default=0, editable=False)
    # The pseudonym of the address that the visitor's last message came from; removed after two days (retention.py).
    address = models.CharField(max_length=PSEUDONYM_LENGTH, blank=True, default="", db_default="", editable=False)

    class Meta:
        ordering = ("-last_message_at",)
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        indexes = (
            models.Index(fields=("-last_message_at",), condition=models.Q(closed_at=None), name="conversation_open"),
            models.Index(
                fields=("-last_message_at",),
                condition=models.Q(closed_at__isnull=False),
                name="conversation_closed",
            ),
            models.Index(ENDING, name="conversation_ending"),
            models.Index(
                fields=("claimed_until",), condition=models.Q(claimed_until__isnull=False), name="conversation_claimed"
            ),
            models.Index(
                fields=("address", "last_message_at"), condition=~models.Q(address=""), name="conversation_address"
            ),
        )

    def __str__(self) -> str:
        return f"#{self.id.hex[:8]}"


def named(ending: str) -> models.QuerySet[Conversation]:
    """Return the conversations whose ids end with `ending` (messaging/pages/visitor_names.py)."""
    return Conversation.objects.alias(ending=ENDING).filter(ending=ending).order_by()


class Message(models.Model):
    """A message that a person wrote. Rows are appended by `messaging.journal` and never changed."""

    class Sender(models.TextChoices):
        USER = "user", _("visitor")
        ADMIN = "admin", _("admin")

    # The journal's order. Numbers are assigned at insert, not at commit: see messaging/journal/reader.py.
    seq = models.BigAutoField(primary_key=True)
    id = models.UUIDField(unique=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(
        Conversation, models.CASCADE, related_name="messages", db_index=False, verbose_name=_("conversation")
    )
    principal = models.CharField(_("principal"), max_length=PRINCIPAL_LIMIT, editable=False)
    client_id = models.CharField(_("client id"), max_length=64, editable=False)
    sender = models.CharField(_("from"), max_length=5, choices=Sender.choices)
    author = models.CharField(_("author"), max_length=NAME_LIMIT, blank=True)
    quick = models.CharField(_("quick message"), max_length=50, blank=True)
    content = models.TextField(_("content"))
    created_at = models.DateTimeField(_("sent"), db_default=Now(), editable=False, db_index=True)

    class Meta:
        ordering = ("seq",)
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = (models.UniqueConstraint(fields=("principal", "client_id"), name="message_once_per_principal"),)
        indexes = (
            models.Index(fields=("conversation", "seq"), name="message_of_conversation"),
            models.Index(fields=("quick", "created_at"), condition=~models.Q(quick=""), name="message_by_button"),
        )

    def __str__(self) -> str:
        return str(self.id)


class Block(models.Model):
    """A block: the visitor may not write for a while. It takes effect within seconds, and ends by itself."""

    conversation = models.OneToOneField(
        Conversation, models.CASCADE, primary_key=True, related_name="block", verbose_name=_("conversation")
    )
    until = models.DateTimeField(_("until"), default=a_day_from_now, db_index=True)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        ordering = ("-until",)
        verbose_name = _("block")
        verbose_name_plural = _("blocks")

    def __str__(self) -> str:
        return f"#{self.pk.hex[:8]}"  # the conversation's text, without a query for its row


class AddressBlock(models.Model):
    """A block of an address: no visitor there may write for a while.

    `address` is the pseudonym that the address had when one of its visitors wrote: a client is recognised by the
    pseudonyms that its address has had for BLOCK_DAYS.
    """

    address = models.CharField(_("address"), max_length=PSEUDONYM_LENGTH, primary_key=True, editable=False)
    until = models.DateTimeField(
        _("until"), default=a_day_from_now, db_index=True, validators=(no_longer_than_an_address_is_known,)
    )
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        ordering = ("-until",)
        verbose_name = _("block of an address")
        verbose_name_plural = _("blocks of addresses")

    def __str__(self) -> str:
        return self.address[:8]


class Pause(models.Model):
    """The pause, of which there is one at most: no visitor may begin a conversation. It ends by itself."""

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY, editable=False)
    until = models.DateTimeField(_("until"), default=a_pause_from_now)
    since = models.DateTimeField(_("since"), default=timezone.now, editable=False)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("paused by"),
    )

    class Meta:
        verbose_name = _("pause of new conversations")
        verbose_name_plural = _("pause of new conversations")

    def __str__(self) -> str:
        return str(self._meta.verbose_name)


class ErasedConversation(models.Model):
    """The id of an erased conversation: no client may be its visitor again, and pages that show it must forget it.

    `blocked_until`: the end of the block that its visitor had; it goes over to the visitor's next conversation.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    erased_at = models.DateTimeField(db_default=Now(), editable=False, db_index=True)
    blocked_until = models.DateTimeField(null=True, editable=False)

    def __str__(self) -> str:
        return f"#{self.id.hex[:8]}"


class LoginSession(models.Model):
    """A login session of staff, by the digest that tokens and connections have of it (messaging/journal/logins.py)."""

    digest = models.CharField(primary_key=True, max_length=32, editable=False)
    session_key = models.CharField(max_length=40, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.digest[:8]


class QuickMessage(models.Model):
    """A message that is sent by one tap: by visitors (version 1 clients send the first one), or by staff."""

    class Kind(models.TextChoices):
        VISITOR = "visitor", _("button for visitors")
        REPLY = "reply", _("canned reply for staff")

    key = models.SlugField(_("key"), max_length=50, unique=True)
    kind = models.CharField(_("kind"), max_length=7, choices=Kind.choices, default=Kind.VISITOR, db_default="visitor")
    label = models.CharField(_("label"), max_length=80)
    content = models.CharField(_("content"), max_length=CONTENT_LIMIT)
    # If these are empty, the texts above are used for German as well.
    label_de = models.CharField(_("label in German"), max_length=80, blank=True, default="", db_default="")
    content_de = models.CharField(
        _("content in German"), max_length=CONTENT_LIMIT, blank=True, default="", db_default=""
    )
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    active = models.BooleanField(_("active"), default=True)

    class Meta:
        ordering = ("position", "key")
        verbose_name = _("quick message")
        verbose_name_plural = _("quick messages")

    def __str__(self) -> str:
        return self.label
