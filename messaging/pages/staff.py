"""The live page of the Django admin, its stage view, and two resources for their scripts: a token and the tally."""

from urllib.parse import urlencode
from uuid import UUID

import segno
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST, require_safe

from messaging import tokens
from messaging.journal import blocks, logins
from messaging.pages.configuration import configuration, strict_scripts, web_socket_url
from messaging.pages.staff_texts import TEXTS
from messaging.pages.tally import tally as tally_now
from messaging.pages.visitors_url import leads_to_this_machine, visitors_url
from messaging.service.contracts import staff_id

RIGHT_TO_READ = "messaging.view_message"


@require_safe
@strict_scripts
def live(request: HttpRequest) -> HttpResponse:
    """Render the live page, which shows every message as it arrives. Only for staff with the right to read messages.

    With `?view=stage`: render the stage view for a projector, which hides visitors' messages unless asked to show them.
    An address that leads only to this machine gets no QR code: no phone could open it.
    """
    if not request.user.has_perm(RIGHT_TO_READ):
        raise PermissionDenied
    context = {
        **admin.site.each_context(request),
        "title": _("Live"),
        "languages": settings.LANGUAGES,  # not the template tag, which translates their names
        "is_nav_sidebar_enabled": False,  # the conversations need its room
        "configuration": configuration(
            web_socket_url(request),
            TEXTS,
            staff=staff_id(request.user.pk),
            tokenUrl=reverse("adminpage:token"),
            tallyUrl=reverse("adminpage:tally"),
            sharingUrl=reverse("adminpage:sharing"),
            loginUrl=_login_url(request),
        ),
    }
    if request.GET.get("view") != "stage":
        return render(request, "messaging/live.html", context)
    visitors_page = visitors_url(request)
    qr = segno.make(visitors_page, micro=False).svg_data_uri(omitsize=True, border=2, light="#fff")
    invitation = {"visitors_page": visitors_page, "qr": "" if leads_to_this_machine(visitors_page) else qr}
    return render(request, "messaging/stage.html", {**context, **invitation})


@never_cache
@require_safe
def tally(request: HttpRequest) -> JsonResponse:
    """Return the tally of the last ten minutes, as JSON, or 403 and `{"error"}`, never a redirect."""
    return _refusal(request) or JsonResponse(dict(tally_now()))


@never_cache
@require_safe
def sharing(request: HttpRequest) -> JsonResponse:
    """Return how many other conversations are known to come from the address of `?conversation=`: `{"others"}`.

    None if the address is not known. 403 or 404 and `{"error"}` without the right to block, or if that is no id.
    """
    if refusal := _refusal(request):
        return refusal
    if not request.user.has_perm("messaging.add_block"):
        return JsonResponse({"error": "This account may not block visitors."}, status=403)
    try:
        conversation = UUID(request.GET.get("conversation", ""))
    except ValueError:
        return JsonResponse({"error": "No such conversation."}, status=404)
    return JsonResponse({"others": blocks.sharing(str(conversation))})


@never_cache
@csrf_protect
@require_POST
def token(request: HttpRequest) -> JsonResponse:
    """Return `{"token", "pass", "expiresIn"}`, or 403 and `{"error"}`, never a redirect.

    The token is for one identify, the pass for the handshake before it. A page names its staff member as `staff`: with
    a token of the next person who signs in in the same browser, it would send what the first person has written.
    """
    if refusal := _refusal(request):
        return refusal
    own = str(request.user.pk)
    if request.POST.get("staff", own) != own:
        return JsonResponse({"error": "Another account is signed in."}, status=403)
    session = logins.recorded(request.session.session_key or "")
    return JsonResponse(
        {"token": tokens.mint_admin(session), "pass": tokens.mint_pass(), "expiresIn": tokens.ADMIN_SECONDS}
    )


def _refusal(request: HttpRequest) -> JsonResponse | None:
    if not admin.site.has_permission(request):
        return JsonResponse({"error": "Not signed in."}, status=403)
    if not request.user.has_perm(RIGHT_TO_READ):
        return JsonResponse({"error": "This account may not read messages."}, status=403)
    return None


def _login_url(request: HttpRequest) -> str:
    return f"{reverse('admin:login')}?{urlencode({'next': request.get_full_path()})}"
