"""The Django admin: conversations, messages, quick messages, blocks and the pause."""

from messaging.admin.blocks import AddressBlockAdmin, BlockAdmin
from messaging.admin.conversation_list import ConversationAdmin
from messaging.admin.deletion import delete_selected
from messaging.admin.messages import MessageAdmin
from messaging.admin.pause import PauseAdmin
from messaging.admin.quick_messages import QuickMessageAdmin

__all__ = [
    "AddressBlockAdmin",
    "BlockAdmin",
    "ConversationAdmin",
    "MessageAdmin",
    "PauseAdmin",
    "QuickMessageAdmin",
    "delete_selected",
]
