"""The Django admin: conversations, messages, quick messages and blocks."""

from messaging.admin.blocks import BlockAdmin
from messaging.admin.conversation_list import ConversationAdmin
from messaging.admin.deletion import delete_selected
from messaging.admin.messages import MessageAdmin
from messaging.admin.quick_messages import QuickMessageAdmin

__all__ = ["BlockAdmin", "ConversationAdmin", "MessageAdmin", "QuickMessageAdmin", "delete_selected"]
