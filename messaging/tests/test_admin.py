"""What an operator can do in the Django admin."""

from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from messaging.models import Block, Conversation, Message, QuickMessage

pytestmark = pytest.mark.django_db

CONVERSATIONS, MESSAGES = "/admin/messaging/conversation/", "/admin/messaging/message/"


@pytest.fixture
def message() -> Message:
    conversation = Conversation.objects.create(id=uuid4())
    text = {"sender": "user", "content": "Wo ist der Saal?"}
    return Message.objects.create(conversation=conversation, principal="visitor:x", client_id="message-1", **text)


def signed_in(client: Client, *rights: str) -> Client:
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client.force_login(user)
    return client


def test_messages_are_found_by_their_words_and_can_only_be_read(admin_client: Client, message: Message) -> None:
    assert "Wo ist der Saal?" in admin_client.get(MESSAGES, {"q": "saal"}).content.decode()
    assert "Wo ist der Saal?" not in admin_client.get(MESSAGES, {"q": "elsewhere"}).content.decode()
    page = admin_client.get(f"{MESSAGES}{message.pk}/change/").content.decode()
    assert 'name="_save"' not in page
    assert admin_client.post(f"{MESSAGES}{message.pk}/change/", {"content": "forged"}).status_code == 403
    assert admin_client.get(f"{MESSAGES}add/").status_code == 403


def test_a_conversation_shows_its_messages(admin_client: Client, message: Message) -> None:
    page = admin_client.get(f"{CONVERSATIONS}{message.conversation_id}/change/").content.decode()
    assert "Wo ist der Saal?" in page


def test_blocking_is_for_those_with_the_right_and_is_noted(client: Client, message: Message) -> None:
    action = {"action": "block", "_selected_action": [str(message.conversation_id)]}
    signed_in(client, "view_conversation").post(CONVERSATIONS, action)
    assert not Block.objects.exists()
    User.objects.get(username="ada").user_permissions.add(Permission.objects.get(codename="add_block"))
    client.post(CONVERSATIONS, action)
    client.post(CONVERSATIONS, action)
    assert Block.objects.get().conversation_id == message.conversation_id
    assert set(LogEntry.objects.values_list("object_id", flat=True)) == {str(message.conversation_id)}


def test_an_operator_adds_a_quick_message(admin_client: Client) -> None:
    form = {"key": "slower", "label": "Slower", "content": "slower please", "position": "1", "active": "on"}
    admin_client.post("/admin/messaging/quickmessage/add/", form)
    assert list(QuickMessage.objects.values_list("key", flat=True)) == ["speak-german", "slower"]
