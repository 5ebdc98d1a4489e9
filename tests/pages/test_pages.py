"""The answers of the two pages and of the token endpoint, for each kind of client."""

import json
import re
from datetime import timedelta
from html import unescape
from types import SimpleNamespace
from typing import Any

import pytest
import segno
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks, Settings

from messaging import tokens
from messaging.journal import logins
from messaging.journal.reader import stored
from messaging.models import Conversation, Message, QuickMessage
from messaging.pages.configuration import TEXTS, Texts
from messaging.pages.staff_texts import TEXTS as ADMIN_TEXTS
from messaging.pages.visitor_texts import TEXTS as USER_TEXTS
from messaging.protocol.codes import RULES, CloseCode
from messaging_site.middleware import Authentication
from tests.support.paths import ROOT

pytestmark = pytest.mark.django_db

STATIC = ROOT / "static/messaging"


def staff(*rights: str) -> User:
    user = User.objects.create_user("staff", password="secret", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="messaging", codename__in=rights))
    return user


def signed_in(user: User, *, enforce_csrf_checks: bool = False) -> Client:
    client = Client(enforce_csrf_checks=enforce_csrf_checks)
    client.force_login(user)
    return client


def configuration(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="messaging-config" type="application/json">(.*?)</script>', page)
    assert found
    values: dict[str, Any] = json.loads(found[1])
    return values


def test_the_visitor_page_shows_the_active_quick_messages_in_their_order(client: Client) -> None:
    QuickMessage.objects.all().delete()
    QuickMessage.objects.create(key="louder", label="Louder", content="speak up", position=2)
    QuickMessage.objects.create(key="slower", label="Slower", content="slow down", position=1)
    QuickMessage.objects.create(key="old", label="Old", content="old", active=False)
    page = client.get("/user/").content.decode()
    assert re.findall(r'<button[^>]* data-key="([^"]*)"[^>]*>([^<]*)<', page) == [
        ("slower", "Slower"),
        ("louder", "Louder"),
    ]


def test_the_page_of_a_new_visitor_needs_no_query_and_differs_only_in_its_forms(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.get("/user/")  # reads the quick messages
    with django_assert_num_queries(0):
        pages = [Client().get("/user/").content.decode() for _ in range(2)]
    values = [re.findall(r'name="(id|csrfmiddlewaretoken)" value="(\w+)"', page) for page in pages]
    assert [name for name, _ in values[0]] == [*["csrfmiddlewaretoken", "id"] * 2, *["csrfmiddlewaretoken"] * 2]
    assert not {value for _, value in values[0]} & {value for _, value in values[1]}
    for page, found in zip(range(2), values, strict=True):
        for _, value in found:
            pages[page] = pages[page].replace(value, "")
    assert pages[0] == pages[1]


def test_a_quick_message_that_another_process_has_changed_is_shown_a_little_later(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr("messaging.journal.sharing.time", clock)
    QuickMessage.objects.create(key="softer", label="Softer", content="speak softly")
    client.get("/user/")
    QuickMessage.objects.update(label="Louder")  # sends no signal, like a change by another process
    clock.monotonic = lambda: 1004.9
    assert ">Louder<" not in client.get("/user/").content.decode()
    clock.monotonic = lambda: 1005.1
    assert ">Louder<" in client.get("/user/").content.decode()


def test_a_quick_message_that_this_process_has_changed_is_shown_at_once(
    client: Client, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    client.get("/user/")
    with django_capture_on_commit_callbacks(execute=True):
        QuickMessage.objects.create(key="louder", label="Louder", content="speak up")
    assert ">Louder<" in client.get("/user/").content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        QuickMessage.objects.all().delete()
    assert 'name="quick"' not in client.get("/user/").content.decode()


def test_the_visitor_page_is_asked_for_anew_but_kept_for_the_back_button(client: Client) -> None:
    assert client.get("/user/")["Cache-Control"] == "private, no-cache"


def test_a_static_file_of_another_version_is_asked_for_again_until_it_is_clear_that_nobody_has_it(
    client: Client,
) -> None:
    path = "/static/messaging/user.0123456789ab.js"
    asked = [client.get(path)]
    while asked[-1].status_code == 302:
        assert asked[-1]["Cache-Control"] == "no-store"
        asked.append(client.get(asked[-1]["Location"]))
    assert [answer["Location"] for answer in asked[:-1]] == [f"{path}?try={number}" for number in range(1, 16)]
    assert asked[-1].status_code == 404


@pytest.mark.parametrize("path", ["/static/messaging/nothing.js", "/user/user.0123456789ab.js"])
def test_what_is_no_static_file_of_any_version_is_not_found(path: str, client: Client) -> None:
    assert client.get(path).status_code == 404


def test_a_page_names_the_web_socket_of_its_own_host(client: Client) -> None:
    page = client.get("/user/", headers={"host": "localhost:8000"}).content.decode()
    expected = {"webSocketUrl": "ws://localhost:8000/ws", "heartbeatMs": 25_000, "language": "en"}
    expected |= {"cookie": ";Path=/user/;SameSite=Lax;Max-Age=2592000"}
    found = configuration(page)
    assert found.pop("texts")["present"] == "Someone is here"
    assert found == expected


def test_a_script_gets_its_texts_in_the_language_of_the_page(client: Client) -> None:
    page = client.get("/user/", headers={"Accept-Language": "de"}).content.decode()
    texts = configuration(page)["texts"]
    assert (texts["sent"], texts["present"]) == ("Gesendet", "Jemand ist da")


def keys(script: str) -> set[str]:
    """Return the keys of the texts that a script uses: strings in the arguments of `text(…)` and in their sources."""
    found = set()
    for argument in re.findall(r"(?<!function )\btext\(((?:\([^)]*\)|[^(),])*)", script):
        sources = [argument]
        for name in re.findall(r"(?<!\")\b[a-z]\w*", argument):
            sources += re.findall(rf"\b{name}\b[^;=\n]* = ([^;]*);", script)
        for function in re.findall(r"^(\w+)\(\)$", "\n".join(sources), re.MULTILINE):
            sources += re.findall(rf"^function {function}\(\) {{.*?^}}", script, re.MULTILINE | re.DOTALL)
        found |= {key for source in sources for key in re.findall(r'(?<!== )"(\w+)"', source)}
    return found


@pytest.mark.parametrize(
    ("scripts", "texts"),
    [
        (("page", "view", "user"), USER_TEXTS),
        (
            (
                "page",
                "view",
                "staff",
                "live",
                "list",
                "conversationpane",
                "conversations",
                "blocking",
                "alerts",
                "tally",
                "stage",
            ),
            ADMIN_TEXTS,
        ),
    ],
    ids=["visitor", "staff"],
)
def test_a_page_has_the_texts_that_its_scripts_ask_for_and_no_other(scripts: tuple[str, ...], texts: Texts) -> None:
    asked = {key for name in scripts for key in keys((STATIC / f"{name}.js").read_text())}
    forms = {f"{key}One" for key in asked}  # for a count of one
    by_code = {key for key in {**TEXTS, **texts} if key.startswith(("failed_", "kept_", "crowded_"))}
    assert asked == {*TEXTS, *texts} - forms - by_code


def test_the_scripts_know_the_close_codes_by_the_names_of_the_protocol() -> None:
    """The scripts write the codes in one file only."""
    codes = re.findall(r"^  (\w+): (4\d{3}),", (STATIC / "link.js").read_text(), re.MULTILINE)
    assert {name.upper(): int(code) for name, code in codes}.items() <= CloseCode.__members__.items()
    assert {rule.close for rule in RULES.values() if rule.after == 1} <= {int(code) for _, code in codes}
    written = {file.name for file in STATIC.glob("*.js") if re.search(r"\w(?: =|:) 4\d{3}\b", file.read_text())}
    assert written == {"link.js"}


def test_the_visitor_page_says_how_long_messages_are_kept(client: Client, settings: Any) -> None:
    settings.MESSAGE_RETENTION_DAYS = 7
    assert "Messages are deleted after 7 days." in client.get("/user/").content.decode()


def test_a_page_over_https_names_a_secure_web_socket(client: Client) -> None:
    page = client.get("/user/", secure=True, headers={"host": "localhost"}).content.decode()
    assert configuration(page)["webSocketUrl"] == "wss://localhost/ws"


def test_a_public_url_of_the_web_socket_replaces_the_own_one(client: Client, settings: Any) -> None:
    settings.WEBSOCKET_PUBLIC_URL = "wss://sockets.example.org/production"
    page = client.get("/user/").content.decode()
    assert configuration(page)["webSocketUrl"] == "wss://sockets.example.org/production"


def test_a_page_has_no_inline_code(client: Client) -> None:
    pages = [client.get("/user/"), signed_in(staff("view_message")).get("/admin/live/")]
    for page in pages:
        assert page.status_code == 200
        assert (
            re.findall(r"<style|<script(?! id=\"messaging-config\")(?![^>]* src=)|\son\w+=", page.content.decode())
            == []
        )


def test_the_live_page_asks_a_stranger_to_sign_in(client: Client) -> None:
    answer = client.get("/admin/live/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/admin/live/")


def test_the_live_page_needs_the_right_to_read_messages() -> None:
    assert signed_in(staff()).get("/admin/live/").status_code == 403


def test_the_live_page_tells_its_script_where_tokens_are() -> None:
    user = staff("view_message")
    page = signed_in(user).get("/admin/live/").content.decode()
    texts = configuration(page)["texts"]
    assert configuration(page) == {
        "webSocketUrl": "ws://testserver/ws",
        "heartbeatMs": 25_000,
        "language": "en",
        "texts": texts,
        "staff": user.pk,
        "tokenUrl": "/admin/live/token/",
        "tallyUrl": "/admin/live/tally/",
        "sharingUrl": "/admin/live/sharing/",
        "loginUrl": "/admin/login/?next=%2Fadmin%2Flive%2F",
    }
    assert texts["seen"] == "Seen"
    assert texts["notLiveSince"] == "Not live since {time}."


def stage(host: str, language: str = "en") -> str:
    client = signed_in(staff("view_message"))
    headers = {"host": host, "accept-language": language}
    return client.get("/admin/live/?view=stage", headers=headers).content.decode()


def invitation(page: str) -> tuple[str, str | None]:
    """Return the address that the stage shows, and the picture of its QR code, if there is one."""
    address = re.search(r'<p class="address" translate="no">([^<]*)</p>', page)
    picture = re.search(r'<img class="qr"\s+src="([^"]*)"', page)
    assert address
    return address[1], unescape(picture[1]) if picture else None


def code(url: str) -> str:
    return segno.make(url, micro=False).svg_data_uri(omitsize=True, border=2, light="#fff")


def test_the_stage_view_names_the_visitors_page_and_draws_its_code() -> None:
    page = stage("testserver")
    assert invitation(page) == ("http://testserver/user/", code("http://testserver/user/"))
    assert configuration(page)["loginUrl"] == "/admin/login/?next=%2Fadmin%2Flive%2F%3Fview%3Dstage"
    assert "unreachable" not in page


def test_the_stage_view_shows_the_visitors_own_address_if_staff_use_another(settings: Settings) -> None:
    settings.VISITORS_URL = "https://chat.example.org/user/"
    for host in ("testserver", "localhost"):
        User.objects.filter(username="staff").delete()
        assert invitation(stage(host)) == (settings.VISITORS_URL, code(settings.VISITORS_URL))


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "Phones can’t open this address"), ("de", "Handys können diese Adresse nicht öffnen")],
)
def test_the_stage_view_draws_no_code_that_no_phone_could_open(host: str, language: str, words: str) -> None:
    page = stage(host, language)
    assert invitation(page) == (f"http://{host}/user/", None)
    assert words in page
    assert "<code>make run LAN=1</code>" in page


def said(minutes_ago: float, quick: str, sender: str = "user") -> Message:
    conversation = Conversation.objects.create()
    message = Message.objects.create(
        conversation=conversation,
        principal=f"user:{conversation.id}",
        client_id="message-1",
        sender=sender,
        content="hello",
        quick=quick,
    )
    Message.objects.filter(pk=message.pk).update(created_at=timezone.now() - timedelta(minutes=minutes_ago))
    message.refresh_from_db()
    return message


def test_the_tally_counts_the_quick_messages_of_ten_minutes_by_second() -> None:
    said(11, "slower")
    early, late = said(9, "slower"), said(1, "louder")
    same = said(0, "louder")
    Message.objects.filter(pk=same.pk).update(created_at=late.created_at)
    said(0, "")
    newest = said(0, "slower", sender="admin")
    answer = signed_in(staff("view_message")).get("/admin/live/tally/")
    counts = answer.json()["counts"]
    assert counts == [
        {"quick": "slower", "second": int(early.created_at.timestamp()), "count": 1},
        {"quick": "louder", "second": int(late.created_at.timestamp()), "count": 2},
    ]
    assert answer.json()["cursor"] == str(stored(newest).cursor)
    assert abs(answer.json()["now"] / 1000 - timezone.now().timestamp()) < 60
    assert "no-store" in answer["Cache-Control"]


def test_the_tally_is_for_those_who_may_read_messages(client: Client) -> None:
    assert client.get("/admin/live/tally/").status_code == 403
    assert signed_in(staff()).get("/admin/live/tally/").status_code == 403


def test_the_admin_index_links_to_the_live_page_for_those_who_may_open_it() -> None:
    client = signed_in(user := staff())
    assert b'href="/admin/live/"' not in client.get("/admin/").content
    user.user_permissions.add(Permission.objects.get(codename="view_message"))
    assert b'href="/admin/live/"' in client.get("/admin/").content


def test_a_token_names_the_staff_member_who_asked() -> None:
    user = staff("view_message")
    answer = signed_in(user).post("/admin/live/token/")
    token, its_pass = answer.json()["token"], answer.json()["pass"]
    assert (answer.status_code, answer.json()) == (200, {"token": token, "pass": its_pass, "expiresIn": 60})
    assert tokens.is_pass(its_pass)
    (member,) = logins.signed_in([tokens.read_admin(token) or ""]).values()
    assert member.id == user.pk
    assert "no-store" in answer["Cache-Control"]


def test_a_stranger_gets_an_error_instead_of_a_token(client: Client) -> None:
    answer = client.post("/admin/live/token/")
    assert (answer.status_code, answer.json()) == (403, {"error": "Not signed in."})


def test_staff_without_the_right_to_read_gets_an_error_instead_of_a_token() -> None:
    answer = signed_in(staff()).post("/admin/live/token/")
    assert (answer.status_code, answer.json()) == (403, {"error": "This account may not read messages."})


def test_a_page_gets_no_token_of_the_next_person_who_signs_in_in_its_browser() -> None:
    ada, eve = staff("view_message"), User.objects.create_superuser("eve")
    answer = signed_in(eve).post("/admin/live/token/", {"staff": ada.pk})
    assert (answer.status_code, answer.json()) == (403, {"error": "Another account is signed in."})
    assert signed_in(ada).post("/admin/live/token/", {"staff": ada.pk}).status_code == 200


def test_a_login_signed_with_an_old_key_keeps_its_session_and_is_signed_anew_when_that_is_stored(
    settings: Settings,
) -> None:
    client = signed_in(user := staff("view_message"))
    key, old = client.session.session_key, client.session[HASH_SESSION_KEY]
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], f"new {settings.SECRET_KEY}"
    assert client.get("/admin/live/tally/").status_code == 200
    assert (client.session.session_key, client.session[HASH_SESSION_KEY]) == (key, old)  # as before, and not stored
    session = logins.recorded(key or "")
    assert logins.signed_in([session])[session].id == user.pk

    request = RequestFactory().get("/")
    request.session = SessionStore(key)
    Authentication(lambda _: HttpResponse()).process_request(request)
    assert request.user == user
    assert not request.session.modified
    request.session["changed"] = "by a page"
    request.session.save()
    assert (client.session.session_key, client.session[HASH_SESSION_KEY]) == (key, user.get_session_auth_hash())
    settings.SECRET_KEY_FALLBACKS = []
    assert client.get("/admin/live/tally/").status_code == 200
    settings.SECRET_KEY = f"another {settings.SECRET_KEY}"
    assert client.get("/admin/live/tally/").status_code == 403
    assert logins.signed_in([session]) == {}


def test_a_token_is_not_given_to_a_foreign_page() -> None:
    client = signed_in(staff("view_message"), enforce_csrf_checks=True)
    assert client.post("/admin/live/token/").status_code == 403


def test_a_token_is_not_given_to_a_get() -> None:
    assert signed_in(staff("view_message")).get("/admin/live/token/").status_code == 405
