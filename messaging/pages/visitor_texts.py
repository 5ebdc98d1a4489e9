"""The texts of the script of the visitor's page (static/messaging/user.js), besides those that both pages have."""

from django.utils.translation import gettext_lazy as _

from messaging.pages.configuration import Texts

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
    "refused": _("Please reload the page"),
    "count_waiting": _("{count} waiting"),
    "deleted": _("Your messages have been deleted"),
    "not_deleted": _("Not deleted: there is no connection. Please try again."),
}
