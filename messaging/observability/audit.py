"""Audit events of staff and deployments, logged as `messaging.audit`: who changed what and when, never its content.

Staff are identified by the primary key of their account, clients by the pseudonym of their address.
"""

import json
import logging
from functools import partial
from typing import Any, get_args

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import transaction
from django.db.models.signals import post_save
from django.http import HttpRequest

from messaging.protocol.fields import Op
from messaging.service.contracts import staff_id
from messaging.transports.client_address import of_request

logger = logging.getLogger("messaging.audit")  # operators select these events by this name

_OPS: tuple[str, ...] = get_args(Op)
_ACTIONS = {ADDITION: "added", CHANGE: "changed", DELETION: "deleted"}


def note(event: str, **fields: Any) -> None:
    """Log the audit event `event`. `staff`: the primary key of the account that caused it."""
    logger.info(event, extra=fields)


def connect_all() -> None:
    """Connect the signal receivers; called once, when the application starts."""
    user_logged_in.connect(_logged_in)
    user_logged_out.connect(_logged_out)
    user_login_failed.connect(_login_failed)
    post_save.connect(_changed, sender=LogEntry)


def _logged_in(request: HttpRequest, user: AbstractBaseUser, **_: Any) -> None:
    note("staff logged in", staff=staff_id(user.pk), address=_address(request))


def _logged_out(request: HttpRequest, user: AbstractBaseUser | None, **_: Any) -> None:
    if user is not None:
        note("staff logged out", staff=staff_id(user.pk), address=_address(request))


def _login_failed(request: HttpRequest | None = None, **_: Any) -> None:
    note("login failed", address=_address(request))  # without the user name: people type passwords there


def _changed(instance: LogEntry, **_: Any) -> None:
    """Log a change that is in Django's log, without the object's name there, which may be what a visitor wrote."""
    kind = instance.content_type.model if instance.content_type else ""
    fields: dict[str, Any] = {"changes": _changed_fields(instance.change_message)}
    if instance.change_message in _OPS:
        fields = {"op": instance.change_message}
    elif instance.action_flag == CHANGE and not instance.change_message.startswith("["):
        return  # a remark, for example about an export: not a change
    event = f"{kind} {_ACTIONS[instance.action_flag]}"
    # If the transaction is rolled back, the change has not happened.
    fields |= {"staff": staff_id(instance.user_id), "object": str(instance.object_id)}
    transaction.on_commit(partial(note, event, **fields))


def _changed_fields(change_message: str) -> list[str]:
    changes = json.loads(change_message) if change_message.startswith("[") else []
    return [field for change in changes for field in change.get("changed", {}).get("fields", ())]


def _address(request: HttpRequest | None) -> str:
    return of_request(request) if request is not None else ""
