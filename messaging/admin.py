"""The Django admin for operators: read what was said, choose the quick messages."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from messaging.models import Block, Conversation, Message, QuickMessage, a_day_from_now


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Messages are written through /ws alone, where they are acked and published."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class MessageInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Message
    fields = ("created_at", "sender", "author", "content")
    readonly_fields = fields
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "message_count", "created_at", "last_message_at")
    list_filter = ("last_message_at",)
    search_fields = ("id", "messages__content")
    search_help_text = _("Part of an id, or words of a message")
    date_hierarchy = "last_message_at"
    inlines = (MessageInline,)
    actions = ("block",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        conversations: QuerySet[Conversation] = super().get_queryset(request)
        return conversations.annotate(message_count=Count("messages"))

    @admin.action(description=_("Block for 24 hours"), permissions=("block",))
    def block(self, request: HttpRequest, conversations: QuerySet[Conversation]) -> None:
        for conversation in conversations:
            Block.objects.update_or_create(conversation=conversation, defaults={"until": a_day_from_now()})
            self.log_change(request, conversation, [{"changed": {"name": "block", "object": "24 h"}}])
        self.message_user(request, _("Blocked for 24 hours: %(count)d.") % {"count": len(conversations)})

    def has_block_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.add_block")

    @admin.display(description=_("messages"), ordering="message_count")
    def message_count(self, conversation: Any) -> int:
        return int(conversation.message_count)


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "conversation", "sender", "author", "excerpt", "quick")
    list_filter = ("sender", "quick", "created_at")
    list_select_related = ("conversation",)
    search_fields = ("content", "author", "conversation__id")
    date_hierarchy = "created_at"
    ordering = ("-seq",)
    fields = ("conversation", "created_at", "sender", "author", "quick", "content")

    @admin.display(description=_("content"))
    def excerpt(self, message: Message) -> str:
        return message.content if len(message.content) <= 80 else f"{message.content[:79]}…"


@admin.register(Block)
class BlockAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Delete a block to end it early."""

    list_display = ("conversation", "until", "created_at")
    raw_id_fields = ("conversation",)


@admin.register(QuickMessage)
class QuickMessageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("label", "content", "position", "active")
    list_editable = ("position", "active")
    prepopulated_fields = {"key": ("label",)}  # noqa: RUF012  Django's own form of this
