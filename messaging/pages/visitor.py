"""The visitor's page. static/messaging/user.js makes it live; without a script its forms work, one page at a time."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import escape
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_safe

from messaging import tokens
from messaging.journal.blocks import writing
from messaging.journal.quick_messages import quick_messages, recent_quick_messages
from messaging.pages.configuration import TEXTS as SHARED_TEXTS
from messaging.pages.configuration import configuration, strict_scripts, web_socket_url
from messaging.pages.visitor_texts import CROWDED, NOTICES, TEXTS
from messaging.protocol import frames
from messaging.protocol.fields import Lang
from messaging.protocol.frames import Writing
from messaging.transports import forms
from messaging.transports.client_address import pseudonyms_of_request

COOKIE = "messaging-visitor"  # user.js reads and writes it too: the visitor is the same with and without a script
SHOWN = 50  # messages that a page without a script shows
_ID, _TOKEN = f"id-{uuid4().hex}", f"token-{uuid4().hex}"  # stand for the values that differ at each visit
STATUS = {"rate_limited": 429, "blocked": 403, "paused": 503, "unavailable": 503}  # of the page that shows an error


# Cached only by this browser, and revalidated at each use: the page names the host and is in one language. Browsers
# still keep it for their back button, which `no-store` would forbid.
_own = cache_control(private=True, no_cache=True)
_form = require_http_methods(["GET", "HEAD", "POST"])  # GET: a person who reloads the answer to a form


@require_safe
@strict_scripts
@_own
def page(request: HttpRequest) -> HttpResponse:
    return _page(request)


@_form
@strict_scripts
@_own
def send(request: HttpRequest) -> HttpResponse:
    """Send the message of a form without a script: its text, or the quick message whose button was tapped."""
    if request.method != "POST":
        return redirect("userpage:page")
    connection = forms.connection(request, _visitor(request))
    quick = request.POST.get("quick", "")
    content = request.POST.get("content", "").replace("\r\n", "\n")
    if quick:
        buttons = quick_messages("visitor")["visitor", _lang()]
        content = next((button["content"] for button in buttons if button["key"] == quick), "")
    # One id per page and content: the same form sent twice is one message; sent again with another text, it is two.
    id = sha256(f"{request.POST.get('id')}\n{content}".encode()).hexdigest()[:32]
    fields = {"quick": quick} if quick else {}
    answer, *_others = forms.ask(connection, "sendMessage", id=id, content=content, **fields)
    visitor = connection.conversation or ""
    if isinstance(answer, frames.Error):
        refusal = _page(request, answer, "" if quick else content)
        # The message may have been stored: if it is sent again, it must come from the same visitor.
        return _as(visitor, refusal) if answer.code == "unavailable" else refusal
    return _as(visitor, redirect("userpage:page"))


@_form
@strict_scripts
@_own
def forget(request: HttpRequest) -> HttpResponse:
    """Erase the visitor. From then on, this browser belongs to a new visitor."""
    visitor = _visitor(request)
    if request.method != "POST" or not visitor:
        return redirect("userpage:page")
    connection = forms.connection(request, visitor)
    answer, *_others = forms.ask(connection, "forget")
    if isinstance(answer, frames.Error):
        return _page(request, answer)
    return _as(connection.conversation or "", redirect("userpage:page"))


def _page(request: HttpRequest, error: frames.Error | None = None, content: str = "") -> HttpResponse:
    look = _Look(
        get_language() or settings.LANGUAGE_CODE,
        web_socket_url(request),
        tuple(tuple(button.items()) for button in recent_quick_messages.value()["visitor", _lang()]),
        writing(_visitor(request), pseudonyms_of_request(request)),
    )
    messages = _messages(request)
    # A refused message is sent again under the same id.
    id, token = request.POST.get("id") or uuid4().hex, get_token(request)
    if messages or messages is None or error or content:
        own = {"messages": messages, "content": content}
        text = _rendered(look, error=_words(error) if error else None, id=id, csrf_token=token, **own)
    else:
        text = _blank(look).replace(_ID, escape(id)).replace(_TOKEN, token)
    response = HttpResponse(text, status=STATUS.get(error.code, 400) if error else 200)
    if error and error.retry_after_ms:
        response["Retry-After"] = str(_seconds_to_wait(error))
    return response


@dataclass(frozen=True)
class _Look:
    """All that the page of a visitor who has not written yet depends on, but the values of its forms."""

    language: str
    web_socket_url: str
    quick_messages: tuple[tuple[tuple[str, str], ...], ...]
    writing: Writing
    retention_days: int = field(default_factory=lambda: settings.MESSAGE_RETENTION_DAYS)


@lru_cache(maxsize=16)  # two languages, one or two hosts, and those before a change of the quick messages
def _blank(look: _Look) -> str:
    """Return the page without messages; its forms have _ID and _TOKEN, which no text contains by accident."""
    return _rendered(look, messages=[], id=_ID, csrf_token=_TOKEN)


def _rendered(look: _Look, *, error: str | None = None, **own: object) -> str:
    context = {
        "configuration": configuration(look.web_socket_url, TEXTS, cookie=_cookie_attributes()),
        "quick_messages": [dict(button) for button in look.quick_messages],
        "error": error or NOTICES.get(look.writing),
        "is_blocked": look.writing == "blocked",
        "languages": settings.LANGUAGES,  # not the template tag, which translates their names
        "retention_days": look.retention_days,
    }
    return render_to_string("messaging/user.html", context | own)


def _visitor(request: HttpRequest) -> str | None:
    return tokens.read_visitor(request.COOKIES.get(COOKIE, ""))


def _as(visitor: str, response: HttpResponse) -> HttpResponse:
    """Return `response` with the visitor's token as a cookie. Scripts may read it: user.js needs the token."""
    response.set_cookie(
        COOKIE,
        tokens.mint_visitor(visitor),
        max_age=tokens.VISITOR_SECONDS,
        path=reverse("userpage:page"),
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",
    )
    return response


def _cookie_attributes() -> str:
    """Return the attributes with which user.js stores the cookie that `_as` sets (RFC 6265 section 4.1)."""
    secure = ";Secure" if settings.SESSION_COOKIE_SECURE else ""
    return f";Path={reverse('userpage:page')};SameSite=Lax;Max-Age={tokens.VISITOR_SECONDS}{secure}"


def _lang() -> Lang:
    return "de" if get_language() == "de" else "en"


def _messages(request: HttpRequest) -> list[dict[str, object]] | None:
    """Return the messages that a page without a script shows, or None if the history was refused.

    A script loads the history itself.
    """
    visitor = _visitor(request)
    answers = forms.ask(forms.connection(request, visitor), "history", limit=SHOWN) if visitor else []
    if any(isinstance(answer, frames.Error) for answer in answers):
        return None
    return [
        {
            "content": message.content,
            "own": message.from_ == "user",
            "author": message.author or "",
            "time": datetime.fromisoformat(message.timestamp),
        }
        for answer in answers
        if isinstance(answer, frames.HistoryPage)
        for message in answer.messages
    ]


def _seconds_to_wait(error: frames.Error) -> int:
    return -(-(error.retry_after_ms or 0) // 1000)


def _words(error: frames.Error) -> str:
    if error.code == "rate_limited":
        seconds = _seconds_to_wait(error)
        if f"crowded_{error.scope}" in CROWDED:
            return _("Many people are writing from this network. Please try again in %(seconds)s s.") % {
                "seconds": seconds
            }
        return str(SHARED_TEXTS["limited"]).format(seconds=seconds)
    if error.code == "paused":
        return _("No new conversations are taken at the moment. Nothing was sent; please try again later.")
    if error.code == "unavailable":
        return _("This is not possible right now. Please try again.")
    return str(SHARED_TEXTS.get(f"failed_{error.code}", SHARED_TEXTS["failed"]))
