"""The live page of the Django admin, and the token with which its script identifies itself on the WebSocket."""

from typing import cast

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
from messaging.pages import configuration, strict_scripts

RIGHT_TO_READ = "messaging.view_message"


@require_safe
@strict_scripts
def live(request: HttpRequest) -> HttpResponse:
    """Every message as it arrives, and the place to answer. Only for staff with the right to read messages."""
    if not request.user.has_perm(RIGHT_TO_READ):
        raise PermissionDenied
    context = {
        **admin.site.each_context(request),
        "title": _("Live"),
        "is_nav_sidebar_enabled": False,  # its room is needed for the conversations
        "configuration": configuration(
            request, staff=request.user.pk, tokenUrl=reverse("adminpage:token"), loginUrl=_login_url(request)
        ),
    }
    return render(request, "messaging/live.html", context)


@never_cache
@csrf_protect
@require_POST
def token(request: HttpRequest) -> JsonResponse:
    """One token for one identify: `{"token", "expiresIn"}`, or 403 and `{"error"}`, never a redirect."""
    if not admin.site.has_permission(request):
        return JsonResponse({"error": "Not signed in."}, status=403)
    if not request.user.has_perm(RIGHT_TO_READ):
        return JsonResponse({"error": "This account may not read messages."}, status=403)
    session = tokens.session_digest(request.session.session_key or "")
    return JsonResponse(
        {"token": tokens.mint_admin(cast(int, request.user.pk), session), "expiresIn": tokens.ADMIN_SECONDS}
    )


def _login_url(request: HttpRequest) -> str:
    return f"{reverse('admin:login')}?next={request.path}"
