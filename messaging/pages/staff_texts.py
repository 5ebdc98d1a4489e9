"""The texts of the scripts of the live page and its stage view, besides those that both pages have."""

from django.utils.translation import gettext_lazy as _

from messaging.pages.configuration import Texts

# For a count of one, the key with "One" appended is used if it exists, for other counts the key itself.
TEXTS: Texts = {
    "live": _("Live"),
    "notLiveSince": _("Not live since {time}."),
    "notLiveYet": _("Not live yet."),
    "connecting": _("Connecting …"),
    "crowded": _("There are too many connections right now. Trying again …"),
    "draining": _("Switching server …"),
    "offline": _("You are offline."),
    "signedOut": _("You are signed out. What you have written is kept."),
    "forbidden": _("This account does not have permission to do that."),
    "reload": _("Please reload the page."),
    "admins": _("{count} admins"),
    "adminsOne": _("1 admin"),
    "visitors": _("{count} visitors"),
    "visitorsOne": _("1 visitor"),
    "newHere": _("{count} new"),
    "newHereOne": _("1 new"),
    "toNewest": _("Jump to newest"),
    "newMessages": _("{count} new messages"),
    "newMessagesOne": _("1 new message"),
    "newFromOne": _("{count} new messages from {name}"),
    "newFromMany": _("{count} new messages from {people} visitors"),
    "now": _("now"),
    "claim": _("Claim"),
    "release": _("Release"),
    "close": _("Close"),
    "reopen": _("Reopen"),
    "block": _("Block"),
    "unblock": _("Unblock"),
    "claimedBy": _("Claimed by {name}"),
    "claimedByYou": _("Claimed by you"),
    "isClosed": _("Closed"),
    "blockedUntil": _("Blocked until {time}"),
    "blockName": _("Block {name} for 24 hours?"),
    "sharing": _(
        "At least {count} other visitors have the same address and would be blocked as well. "
        "Only visitors of the same day (UTC) are counted."
    ),
    "sharingOne": _(
        "At least 1 other visitor has the same address and would be blocked as well. "
        "Only visitors of the same day (UTC) are counted."
    ),
    "sharingNone": _(
        "No other visitor of the same day (UTC) has the same address. "
        "Visitors of other days are not counted, but would be blocked as well."
    ),
    "pausedBy": _("{name} paused new conversations at {since}, until {until}."),
    "paused": _("New conversations have been paused since {since}, until {until}."),
    "wasFaster": _("{name} has already claimed this conversation."),
    "notDone": _("Not done: there is no connection."),
    "refused": _("Not done: {reason}"),
}
