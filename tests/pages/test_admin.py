"""The actions that operators may take in the Django admin, and the rights that each action needs."""

import csv
import io
import json
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.db.models.functions import Now
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client
from django.utils import timezone

from messaging.admin import changes, exports, lists
from messaging.admin import conversation_list as admin_conversations
from messaging.admin import messages as admin_messages
from messaging.admin.conversation_list import LATEST
from messaging.models import Block, Conversation, ErasedConversation, Message, Pause, QuickMessage
from messaging.pages.visitor_names import ending_of, visitor_name
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = pytest.mark.django_db

CONVERSATIONS, MESSAGES = "/admin/messaging/conversation/", "/admin/messaging/message/"
BLOCKS, QUICK_MESSAGES = "/admin/messaging/block/", "/admin/messaging/quickmessage/"
PAUSES = "/admin/messaging/pause/"
OTTER = UUID("01976f3e-6c1e-7cc2-b0c5-6d2f8a293f2a")
NAMES_IN_THE_BROWSER = "import {visitorName} from './static/messaging/conversations.js'; console.log(visitorName('%s'))"


def converse(*contents: str, id: UUID | None = None, **fields: Any) -> Conversation:
    """Return a new conversation in which a visitor has written `contents`."""
    conversation = Conversation.objects.create(id=id or uuid4(), **fields)
    Message.objects.bulk_create(
        Message(
            conversation=conversation,
            principal=f"visitor:{conversation.pk}",
            client_id=f"message-{number}",
            sender="user",
            content=content,
        )
        for number, content in enumerate(contents)
    )
    return conversation


@pytest.fixture
def conversation() -> Conversation:
    return converse("Wo ist der Saal?", id=OTTER)


def signed_in(client: Client, *rights: str) -> Client:
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client.force_login(user)
    return client


def act(client: Client, action: str, *chosen: Conversation | Message, **fields: str) -> "Answer":
    path = MESSAGES if isinstance(chosen[0], Message) else CONVERSATIONS
    form = {"action": action, "_selected_action": [str(row.pk) for row in chosen]} | fields
    return client.post(path, form, follow=True)


def said(answer: "Answer") -> list[str]:
    """Return the notices that the page shows to the person who acted."""
    return [str(message) for message in answer.context["messages"]]


def noted() -> list[tuple[str | None, str]]:
    """Return the entries of Django's admin log, each as object id and text."""
    return list(LogEntry.objects.order_by("pk").values_list("object_id", "change_message"))


# --- Reading ------------------------------------------------------------------------------------------------


def test_messages_are_found_by_their_words_and_can_only_be_read(
    admin_client: Client, conversation: Conversation
) -> None:
    message = conversation.messages.get()
    assert "Wo ist der Saal?" in admin_client.get(MESSAGES, {"q": "saal"}).content.decode()
    assert "Wo ist der Saal?" not in admin_client.get(MESSAGES, {"q": "elsewhere"}).content.decode()
    page = admin_client.get(f"{MESSAGES}{message.pk}/change/").content.decode()
    assert 'name="_save"' not in page
    assert admin_client.post(f"{MESSAGES}{message.pk}/change/", {"content": "forged"}).status_code == 403
    assert admin_client.get(f"{MESSAGES}add/").status_code == 403
    assert admin_client.post(f"{MESSAGES}{message.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("term", ["Blue Otter 3f2a", "blue otter 3F2A", str(OTTER)])
@pytest.mark.parametrize("path", [CONVERSATIONS, MESSAGES])
def test_a_visitors_name_or_id_finds_what_was_said(
    admin_client: Client, conversation: Conversation, path: str, term: str
) -> None:
    converse("Blue Otter")
    rows = admin_client.get(path, {"q": term}).context["cl"].result_list
    assert [getattr(row, "conversation_id", row.pk) for row in rows] == [OTTER]


def test_a_visitor_has_one_name_in_the_admin_and_on_the_live_page() -> None:
    visitors = [OTTER, uuid4()]
    for visitor in visitors:
        script = NAMES_IN_THE_BROWSER % visitor
        shown = subprocess.run(
            ["node", "--input-type=module", "-e", script],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        assert visitor_name(visitor) == shown
        assert visitor.hex.endswith(ending_of(shown) or "no name")
    assert [ending_of(text) for text in ("Blue Otter", "Blue Otter zzzz", "Wo ist der1 3f2a")] == [None] * 3


def test_who_may_not_read_messages_finds_none_by_what_was_said(client: Client, conversation: Conversation) -> None:
    signed_in(client, "view_conversation")
    assert list(client.get(CONVERSATIONS, {"q": "Saal"}).context["cl"].result_list) == []
    page = client.get(f"{CONVERSATIONS}{OTTER}/change/").content.decode()
    assert "Wo ist der Saal?" not in page
    assert "Blue Otter 3f2a" in page


def test_the_list_shows_what_state_conversations_are_in(admin_client: Client, admin_user: User) -> None:
    read = converse("one", "two", id=OTTER)
    newest = read.messages.last()
    assert newest is not None
    read.read_by_staff = newest.seq
    read.closed_at = timezone.now()
    read.save()
    claimed = converse("three", claimed_by=admin_user, claimed_until=timezone.now() + timedelta(minutes=1))
    Block.objects.create(conversation=claimed)
    lapsed = converse(*["four"] * 120, claimed_by=admin_user, claimed_until=timezone.now() - timedelta(minutes=1))
    model_admin = admin_client.get(CONVERSATIONS).context["cl"].model_admin
    rows = {row.pk: row for row in admin_client.get(CONVERSATIONS).context["cl"].result_list}
    shown = {pk: (model_admin.status(row), model_admin.claim(row), model_admin.unread(row)) for pk, row in rows.items()}
    assert shown == {
        read.pk: ("closed", "", "0"),
        claimed.pk: ("open, blocked", "admin", "1"),
        lapsed.pk: ("open", "", "99+"),
    }
    found = {
        status: {row.pk for row in admin_client.get(CONVERSATIONS, {"status": status}).context["cl"].result_list}
        for status in ("open", "closed", "unread", "blocked")
    }
    assert found == {
        "open": {claimed.pk, lapsed.pk},
        "closed": {read.pk},
        "unread": {claimed.pk, lapsed.pk},
        "blocked": {claimed.pk},
    }


def test_a_conversation_shows_its_latest_messages_and_leads_to_all(admin_client: Client) -> None:
    conversation = converse(*(f"message {number} of many" for number in range(LATEST + 10)))
    page = admin_client.get(f"{CONVERSATIONS}{conversation.pk}/change/").content.decode()
    assert [number for number in range(LATEST + 10) if f"message {number} of many" in page] == list(
        range(10, LATEST + 10)
    )
    every = f"{MESSAGES}?conversation__id__exact={conversation.pk}"
    assert f'href="{every}"' in page
    assert admin_client.get(every).context["cl"].result_count == LATEST + 10


def test_messages_are_found_by_the_button_that_sent_them(admin_client: Client, conversation: Conversation) -> None:
    key = QuickMessage.objects.create(key="louder", label="Louder", content="speak up").key
    conversation.messages.update(quick=key)
    converse("typed")
    rows = admin_client.get(MESSAGES, {"quick": key}).context["cl"].result_list
    assert [row.content for row in rows] == ["Wo ist der Saal?"]


@pytest.mark.parametrize("path", [CONVERSATIONS, MESSAGES])
def test_a_list_of_very_many_rows_says_more_and_counts_no_further(
    admin_client: Client, path: str, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    converse("one", "two", "three")
    converse("four")
    converse("five")
    monkeypatch.setattr(lists, "COUNTED", 2)
    with django_assert_max_num_queries(12) as asked:
        page = " ".join(admin_client.get(path).content.decode().split())
    assert "more than 2 " in page
    counts = [query["sql"] for query in asked if "COUNT(*)" in query["sql"] and query["sql"].startswith("SELECT COUNT")]
    assert counts
    assert all("LIMIT 3" in sql for sql in counts)


def test_words_are_looked_for_in_the_newest_messages_that_the_filters_leave(
    admin_client: Client, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older messages are found if their day is chosen."""
    newer = converse("Wo ist der Ausgang?", "Danke")
    old = conversation.messages.get()
    Message.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=40))

    def found(path: str, **query: str | int) -> list[Any]:
        asked: dict[str, str | int] = {"q": "wo ist", **query}
        return [row.pk for row in admin_client.get(path, asked).context["cl"].result_list]

    asked = newer.messages.first()
    assert asked is not None
    assert (found(MESSAGES), set(found(CONVERSATIONS))) == ([asked.pk, old.pk], {newer.pk, OTTER})
    monkeypatch.setattr(admin_messages, "SEARCHED", 2)
    monkeypatch.setattr(admin_conversations, "SEARCHED", 2)
    Message.objects.filter(content="Danke").update(created_at=timezone.now() + timedelta(seconds=1))
    assert (found(MESSAGES), found(CONVERSATIONS)) == ([asked.pk], [newer.pk])
    day = Message.objects.get(pk=old.pk).created_at
    chosen = {"created_at__year": day.year, "created_at__month": day.month, "created_at__day": day.day}
    assert found(MESSAGES, **chosen) == [old.pk]
    monkeypatch.setattr(admin_messages, "FOUND", 0)
    assert found(MESSAGES) == []


def test_what_is_unread_is_looked_for_in_the_newest_conversations(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_conversations, "RECENT", 1)
    converse("older", last_message_at=timezone.now() - timedelta(minutes=1))
    newer = converse("newer")
    assert list(admin_client.get(CONVERSATIONS, {"status": "unread"}).context["cl"].result_list) == [newer]


def test_every_page_of_a_list_shows_its_rows_in_their_order(admin_client: Client) -> None:
    converse(*map(str, range(lists.SHOWN + 10)))
    pages = [admin_client.get(MESSAGES, {"p": page}).context["cl"].result_list for page in (1, 2)]
    shown = [int(row.content) for page in pages for row in page]
    assert shown == list(reversed(range(lists.SHOWN + 10)))
    page = admin_client.get(MESSAGES, {"o": 1}).context["cl"].result_list
    assert [row.created_at for row in page] == sorted(row.created_at for row in page)


# --- Changing -----------------------------------------------------------------------------------------------


def test_closing_and_reopening_have_the_effect_of_the_wires_frames(admin_client: Client, admin_user: User) -> None:
    one, two = converse("one"), converse("two")
    assert said(act(admin_client, "close", one, two)) == ["2 conversations closed."]
    assert Conversation.objects.filter(closed_at=None).count() == 0
    assert Conversation.objects.filter(changed_at=None).count() == 0  # so pages that were away learn of the change
    assert said(act(admin_client, "close", one)) == ["Nothing was changed."]
    assert said(act(admin_client, "reopen", one)) == ["1 conversation reopened."]
    assert Conversation.objects.get(closed_at=None) == one
    assert sorted(noted()) == sorted([(str(one.pk), "close"), (str(two.pk), "close"), (str(one.pk), "reopen")])


def test_what_somebody_else_answers_is_not_closed(admin_client: Client, conversation: Conversation) -> None:
    grace = User.objects.create_user("grace", first_name="Grace", last_name="Hopper")
    Conversation.objects.update(claimed_by=grace, claimed_until=Now() + timedelta(minutes=1))
    assert said(act(admin_client, "close", conversation)) == [
        "Nothing was changed.",
        "Grace Hopper has claimed Blue Otter 3f2a; it was not changed.",
    ]
    assert Conversation.objects.get().closed_at is None


def test_blocking_is_for_those_with_the_right_and_is_noted(client: Client, conversation: Conversation) -> None:
    signed_in(client, "view_conversation")
    act(client, "block", conversation)
    assert not Block.objects.exists()
    User.objects.get(username="ada").user_permissions.add(Permission.objects.get(codename="add_block"))
    assert said(act(client, "block", conversation)) == ["1 visitor blocked for 24 hours."]
    assert Block.objects.get().conversation_id == OTTER
    assert noted() == [(str(OTTER), "block")]


@pytest.mark.parametrize("action", ["close", "reopen", "erase", "export_csv", "export_json"])
def test_an_action_is_for_those_with_the_right(client: Client, conversation: Conversation, action: str) -> None:
    page = act(signed_in(client, "view_conversation"), action, conversation, post="yes")
    assert f'value="{action}"' not in page.content.decode()
    assert Conversation.objects.get().closed_at is None
    assert noted() == []


def test_too_many_at_once_are_left_alone(
    admin_client: Client, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MOST", 1)
    for action in ("close", "erase"):
        answer = act(admin_client, action, conversation, converse("another"), post="yes")
        assert said(answer)[0] == "Choose at most 1 conversations."
    assert Conversation.objects.filter(closed_at=None).count() == Conversation.objects.count() == 3


def test_erasing_asks_first_and_leaves_nothing_but_a_note(admin_client: Client, conversation: Conversation) -> None:
    kept = converse("kept")
    asked = act(admin_client, "erase", conversation)
    page = " ".join(asked.content.decode().split())
    assert "These conversations and their 1 message will be permanently erased" in page
    assert "<li>Blue Otter 3f2a</li>" in page
    assert Conversation.objects.count() == 2
    assert said(act(admin_client, "erase", conversation, post="yes")) == ["1 conversation erased."]
    assert list(Message.objects.values_list("content", flat=True)) == ["kept"]
    assert Conversation.objects.get() == kept
    assert ErasedConversation.objects.get().pk == OTTER
    assert noted() == [(str(OTTER), "Erased.")]


def test_a_block_that_is_made_or_ended_by_hand_counts_as_a_change(
    admin_client: Client, conversation: Conversation
) -> None:
    form = {"conversation": str(OTTER), "until_0": "2030-01-01", "until_1": "12:00:00"}
    admin_client.post(f"{BLOCKS}add/", form)
    assert Block.objects.get().until.year == 2030
    blocked = Conversation.objects.get().changed_at
    admin_client.post(f"{BLOCKS}{OTTER}/delete/", {"post": "yes"})
    assert not Block.objects.exists()
    unblocked = Conversation.objects.get().changed_at
    assert None not in (blocked, unblocked)
    act(admin_client, "block", conversation)
    admin_client.post(BLOCKS, {"action": "delete_selected", "_selected_action": [str(OTTER)], "post": "yes"})
    assert not Block.objects.exists()


def test_an_ended_pause_is_gone_and_the_next_one_has_its_own_facts(client: Client, admin_client: Client) -> None:
    ann = User.objects.create_user("ann")
    yesterday = timezone.now() - timedelta(days=1)
    ended = Pause.objects.create(by=ann, since=yesterday, until=yesterday + timedelta(hours=1))
    assert list(admin_client.get(PAUSES).context["cl"].result_list) == []
    form = {"until_0": "2030-01-01", "until_1": "12:00:00"}
    assert admin_client.post(f"{PAUSES}{ended.pk}/change/", form).headers["Location"] == "/admin/"  # not found
    assert not Pause.objects.filter(until__gt=Now()).exists()
    assert admin_client.get(f"{PAUSES}add/").status_code == 200
    admin_client.post(f"{PAUSES}add/", form)
    pause = Pause.objects.get()
    assert (pause.by.get_username() if pause.by else None, pause.until.year) == ("admin", 2030)
    assert pause.since > yesterday + timedelta(hours=23)
    assert list(admin_client.get(PAUSES).context["cl"].result_list) == [pause]
    assert admin_client.get(f"{PAUSES}add/").status_code == 403
    signed_in(client, "add_block", "change_block")
    client.post(f"{PAUSES}{pause.pk}/change/", form | {"until_0": "2030-01-02"})
    changed = Pause.objects.get()
    assert (changed.until.day, changed.by, changed.since) == (2, pause.by, pause.since)  # it goes on


def test_the_history_of_a_conversation_says_what_was_done(admin_client: Client, conversation: Conversation) -> None:
    for action in ("close", "reopen", "block", "export_csv"):
        act(admin_client, action, conversation)
    page = admin_client.get(f"{CONVERSATIONS}{OTTER}/history/").content.decode()
    assert [word for word in ("close", "reopen", "block", "Exported as CSV.") if f"<td>{word}</td>" in page] == [
        "close",
        "reopen",
        "block",
        "Exported as CSV.",
    ]


def test_an_operator_adds_a_quick_message(admin_client: Client) -> None:
    form = {
        "kind": "reply",
        "key": "soon",
        "label": "Soon",
        "content": "in a minute",
        "label_de": "Gleich",
        "content_de": "in einer Minute",
        "position": "1",
        "active": "on",
    }
    button = {"label": "Please speak German", "content": "speak german"}
    QuickMessage.objects.get_or_create(key="speak-german", defaults=button)
    admin_client.post(f"{QUICK_MESSAGES}add/", form)
    added = QuickMessage.objects.get(key="soon")
    assert (added.kind, added.content_de) == ("reply", "in einer Minute")
    page = admin_client.get(QUICK_MESSAGES).content.decode()
    assert page.index("Soon") < page.index("Please speak German")  # the list is grouped by kind


# --- Exporting ----------------------------------------------------------------------------------------------


def test_conversations_are_exported_for_a_spreadsheet(admin_client: Client, conversation: Conversation) -> None:
    converse("not chosen")
    answer = act(admin_client, "export_csv", conversation)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith('attachment; filename="messages-')
    text = answer.getvalue().decode("utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["conversation"], row["from"], row["content"]) == (str(OTTER), "user", "Wo ist der Saal?")
    assert noted() == [(str(OTTER), "Exported as CSV.")]


def test_messages_are_exported_as_json(client: Client, conversation: Conversation) -> None:
    message = conversation.messages.get()
    answer = act(signed_in(client, "view_message"), "export_json", message)
    (row,) = json.loads(answer.getvalue())
    assert (row["messageId"], row["content"]) == (str(message.id), "Wo ist der Saal?")
    assert noted() == [(str(message.pk), "Exported as JSON.")]


def test_an_export_that_would_not_be_whole_is_refused(
    admin_client: Client, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MOST", 0)
    assert said(act(admin_client, "export_csv", conversation)) == [
        "More than 0 messages: choose fewer, or use the messaging_export command."
    ]
    assert noted() == []


@pytest.fixture
def spoken_german(admin_client: Client) -> Client:
    admin_client.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    return admin_client


def test_operators_may_work_in_german(spoken_german: Client, conversation: Conversation) -> None:
    page = spoken_german.get(CONVERSATIONS).content.decode()
    assert "Mit allen Nachrichten löschen" in page
    assert said(act(spoken_german, "close", conversation)) == ["1 Unterhaltung geschlossen."]


@pytest.mark.django_db(transaction=True)
async def test_the_server_sends_an_export_in_parts(async_client: AsyncClient) -> None:
    """Under ASGI, Django would collect a plain iterator before it sends any part, and warn."""
    user = await User.objects.acreate_superuser("ada")
    await async_client.aforce_login(user)
    conversation = await Conversation.objects.acreate(id=OTTER)
    await Message.objects.acreate(conversation=conversation, principal="x", client_id="1", sender="user", content="hi")
    form = {"action": "export_json", "_selected_action": [str(OTTER)]}
    answer = await async_client.post(CONVERSATIONS, form)
    assert isinstance(answer, StreamingHttpResponse)
    parts = [part async for part in answer]
    await sync_to_async(connections.close_all)()
    assert [row["content"] for row in json.loads(b"".join(parts))] == ["hi"]
    assert len(parts) == 3
