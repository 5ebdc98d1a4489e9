"""What a visitor opens. static/messaging/user.js makes it live; without a script its forms do, one page at a time."""

from datetime import datetime
from hashlib import sha256
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from messaging import tokens
from messaging.models import QuickMessage
from messaging.pages.configuration import TEXTS as SHARED_TEXTS
from messaging.pages.configuration import configuration, strict_scripts
from messaging.pages.visitor_texts import TEXTS
from messaging.protocol import frames
from messaging.transports import forms

COOKIE = "messaging-visitor"  # read and written by user.js as well: one visitor, with a script or without
SHOWN = 50  # messages that a page without a script shows
STATUS = {"rate_limited": 429, "blocked": 403, "unavailable": 503}  # of the page that says what was refused


# For this browser alone, and never without asking: the page names the host and is in one language. Browsers keep it
# as it is for their back button, which `no-store` would forbid.
_own = cache_control(private=True, no_cache=True)


@require_safe
@strict_scripts
@_own
def page(request: HttpRequest) -> HttpResponse:
    return _page(request)


@strict_scripts
@_own
def send(request: HttpRequest) -> HttpResponse:
    """What a form without a script writes: the text, or the message of the button that was tapped."""
    if request.method != "POST":
        return redirect("userpage:page")
    connection = forms.connection(request, _visitor(request))
    quick = request.POST.get("quick", "")
    content = request.POST.get("content", "").replace("\r\n", "\n")
    if quick:
        content = next((button["content"] for button in _quick_messages() if button["key"] == quick), "")
    # One id per page and content: a page that is sent twice is one message, one that is changed and sent is another.
    id = sha256(f"{request.POST.get('id')}\n{content}".encode()).hexdigest()[:32]
    fields = {"quick": quick} if quick else {}
    answer, *_others = forms.ask(request, connection, "sendMessage", id=id, content=content, **fields)
    visitor = connection.conversation or ""
    if isinstance(answer, frames.Error):
        refusal = _page(request, answer, "" if quick else content)
        # It may be stored all the same: when it is sent again, it has to be by the same visitor.
        return _as(visitor, refusal) if answer.code == "unavailable" else refusal
    return _as(visitor, redirect("userpage:page"))


@strict_scripts
@_own
def forget(request: HttpRequest) -> HttpResponse:
    """Erases the visitor; whoever writes from this browser after that is somebody new."""
    visitor = _visitor(request)
    if request.method != "POST" or not visitor:
        return redirect("userpage:page")
    connection = forms.connection(request, visitor)
    answer, *_others = forms.ask(request, connection, "forget")
    if isinstance(answer, frames.Error):
        return _page(request, answer)
    return _as(connection.conversation or "", redirect("userpage:page"))


def _page(request: HttpRequest, error: frames.Error | None = None, content: str = "") -> HttpResponse:
    context = {
        "configuration": configuration(request, TEXTS, cookie=_cookie_attributes()),
        "quick_messages": _quick_messages(),
        "messages": _messages(request),
        "error": error and _words(error),
        "content": content,
        "id": request.POST.get("id") or uuid4().hex,  # what was refused is sent again under the same one
        "languages": settings.LANGUAGES,  # not the template tag's: it translates their names
        "retention_days": settings.MESSAGE_RETENTION_DAYS,
    }
    return render(request, "messaging/user.html", context, status=STATUS.get(error.code, 400) if error else 200)


def _visitor(request: HttpRequest) -> str | None:
    return tokens.read_visitor(request.COOKIES.get(COOKIE, ""))


def _as(visitor: str, response: HttpResponse) -> HttpResponse:
    """`response`, with which the browser becomes this visitor. Its script needs the cookie, which is its token."""
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
    """How user.js keeps the cookie that `_as` sets (RFC 6265 section 4.1)."""
    secure = ";Secure" if settings.SESSION_COOKIE_SECURE else ""
    return f";Path={reverse('userpage:page')};SameSite=Lax;Max-Age={tokens.VISITOR_SECONDS}{secure}"


def _quick_messages() -> list[dict[str, str]]:
    german = get_language() == "de"
    return [
        {
            "key": quick.key,
            "label": (german and quick.label_de) or quick.label,
            "content": (german and quick.content_de) or quick.content,
        }
        for quick in QuickMessage.objects.filter(active=True, kind=QuickMessage.Kind.VISITOR)
    ]


def _messages(request: HttpRequest) -> list[dict[str, object]]:
    """What a page without a script shows; one with it asks for more than that."""
    visitor = _visitor(request)
    answers = forms.ask(request, forms.connection(request, visitor), "history", limit=SHOWN) if visitor else []
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


def _words(error: frames.Error) -> str:
    if error.code == "rate_limited":
        return str(SHARED_TEXTS["limited"]).format(seconds=-(-(error.retry_after_ms or 0) // 1000))
    if error.code == "unavailable":
        return _("Not possible right now. Please try again.")
    return str(SHARED_TEXTS.get(f"failed_{error.code}", SHARED_TEXTS["failed"]))
