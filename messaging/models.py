"""What is kept: conversations, their messages, and the messages that visitors send by one tap."""

import os
import time
import uuid
from datetime import datetime, timedelta

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


def uuid7() -> uuid.UUID:
    """A time-ordered id (RFC 9562 section 5.7): 48 bits of Unix ms, then random; new rows are index neighbours."""
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    return uuid.UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def a_day_from_now() -> datetime:
    return timezone.now() + timedelta(days=1)


class Conversation(models.Model):
    """One visitor's thread; its id is the visitor's id. It begins with the first message."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    last_message_at = models.DateTimeField(_("last message"), db_default=Now(), editable=False, db_index=True)

    class Meta:
        ordering = ("-last_message_at",)
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")

    def __str__(self) -> str:
        return f"#{self.id.hex[:8]}"


class Message(models.Model):
    """What a person wrote. Rows are appended by `messaging.log` and never changed."""

    class Sender(models.TextChoices):
        USER = "user", _("visitor")
        ADMIN = "admin", _("admin")

    # The log's order. Numbers are given at insert, not at commit: see messaging/log/reader.py for what follows.
    seq = models.BigAutoField(primary_key=True)
    id = models.UUIDField(unique=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(
        Conversation, models.CASCADE, related_name="messages", db_index=False, verbose_name=_("conversation")
    )
    principal = models.CharField(_("principal"), max_length=64, editable=False)
    client_id = models.CharField(_("client id"), max_length=64, editable=False)
    sender = models.CharField(_("from"), max_length=5, choices=Sender.choices)
    author = models.CharField(_("author"), max_length=150, blank=True)
    quick = models.CharField(_("quick message"), max_length=50, blank=True)
    content = models.TextField(_("content"))
    created_at = models.DateTimeField(_("sent"), db_default=Now(), editable=False, db_index=True)

    class Meta:
        ordering = ("seq",)
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = (models.UniqueConstraint(fields=("principal", "client_id"), name="message_once_per_principal"),)
        indexes = (models.Index(fields=("conversation", "seq"), name="message_of_conversation"),)

    def __str__(self) -> str:
        return str(self.id)


class Block(models.Model):
    """A visitor who may not write for a while. It takes effect within seconds, and ends by itself."""

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
        return str(self.conversation)


class EndedSession(models.Model):
    """A login session that was signed out: the connections that it opened are to be closed on every pod."""

    digest = models.CharField(primary_key=True, max_length=32, editable=False)
    ended_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.digest[:8]


class QuickMessage(models.Model):
    """A message that a visitor sends by one tap. The first one is what version 1 clients send."""

    key = models.SlugField(_("key"), max_length=50, unique=True)
    label = models.CharField(_("label"), max_length=80)
    content = models.CharField(_("content"), max_length=2000)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    active = models.BooleanField(_("active"), default=True)

    class Meta:
        ordering = ("position", "key")
        verbose_name = _("quick message")
        verbose_name_plural = _("quick messages")

    def __str__(self) -> str:
        return self.label
