"""Django's action that deletes the chosen objects, in one transaction and with audit events."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import actions
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase

from messaging.observability import audit
from messaging.service.contracts import staff_id


@admin.action(permissions=["delete"], description=actions.delete_selected.short_description)  # type: ignore[attr-defined]
def delete_selected(
    model_admin: "admin.ModelAdmin[Any]", request: HttpRequest, chosen: QuerySet[Any]
) -> HttpResponseBase | None:
    """Delete the chosen objects. Log audit events if there are several: Django then sends no signal for audit.py."""
    with transaction.atomic():  # Django runs its other views that delete in one, but not actions
        ids = [str(id) for id in chosen.values_list("pk", flat=True)]
        answer = actions.delete_selected(model_admin, request, chosen)
    if answer is None and len(ids) > 1:
        for id in ids:
            audit.note(f"{chosen.model._meta.model_name} deleted", staff=staff_id(request.user.pk), object=id)
    return answer


admin.site.add_action(delete_selected)
