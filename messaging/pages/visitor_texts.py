"""The texts of the script of the visitor's page (static/messaging/user.js), besides those that both pages have."""

from django.utils.translation import gettext_lazy as _

from messaging.pages.configuration import Texts

TEXTS: Texts = {
    # The status of the link. The first one is shown while it is unknown whether staff are connected.
    "connected": _("Connected – your messages are kept"),
    "present": _("Someone is here"),
    "absent": _("Nobody is watching right now – your message is kept"),
    "connecting": _("Connecting …"),
    "reconnecting": _("Reconnecting"),
    "in": _("in {seconds} s"),
    "offline": _("You are offline – messages go out when you are back"),
    "switching": _("Switching server …"),
    "blocked": _("You can’t send messages here at the moment"),
    "refused": _("Please reload the page"),
    "count_waiting": _("{count} waiting"),
    "deleted": _("Your messages are deleted"),
    "not_deleted": _("Not deleted: there is no connection. Please try again."),
}
