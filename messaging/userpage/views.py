"""What a visitor opens: the quick messages are there before any script runs, the rest is static/messaging/user.js."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from messaging.models import QuickMessage
from messaging.pages import configuration, strict_scripts


@require_safe
@strict_scripts
@never_cache  # its configuration names the host that was asked
def page(request: HttpRequest) -> HttpResponse:
    context = {
        "configuration": configuration(request),
        "quick_messages": QuickMessage.objects.filter(active=True, kind=QuickMessage.Kind.VISITOR),
    }
    return render(request, "messaging/user.html", context)
