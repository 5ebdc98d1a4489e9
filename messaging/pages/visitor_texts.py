"""The texts of the script of the visitor's page (static/messaging/user.js), besides those that both pages have."""

from django.utils.translation import gettext_lazy as _

from messaging.pages.configuration import Texts

_NETWORK = ("address", "connections", "conversations")
# Limits that others have used up, by the `scope` of the refusal (docs/limits.md), without and with a waiting message.
CROWDED: Texts = {
    **{f"crowded_{scope}": _("Many people are connected from this network.") for scope in _NETWORK},
    **{
        f"kept_{scope}": _(
            "Many people are connected from this network. Your message is kept and sent as soon as there is room."
        )
        for scope in _NETWORK
    },
    "crowded_server": _("Too many people are connected right now."),
    "kept_server": _(
        "Too many people are connected right now. Your message is kept and sent as soon as there is room."
    ),
}
TEXTS: Texts = {
    # The status of the link. The first one is shown while it is unknown whether staff are connected.
    "connected": _("Connected – your messages are saved"),
    "present": _("Someone is here"),
    "absent": _("No one is here right now – your message is saved"),
    "connecting": _("Connecting …"),
    "reconnecting": _("Reconnecting"),
    "in": _("in {seconds} s"),
    "offline": _("You are offline – messages are sent when you are back online"),
    "switching": _("Switching server …"),
    "blocked": _("You can’t send messages here at the moment"),
    "paused": _("No new conversations right now – what you send waits here"),
    "refused": _("Please reload the page"),
    **CROWDED,
    "count_waiting": _("{count} waiting"),
    "deleted": _("Your messages have been deleted"),
    "not_deleted": _("Not deleted: there is no connection. Please try again."),
    "not_deleted_now": _("Not deleted: this is not possible right now. Please try again."),
}

# What a page without a script says before anything is written.
NOTICES: Texts = {
    "blocked": TEXTS["blocked"],
    "paused": _("No new conversations are taken at the moment. Please try again later."),
}
