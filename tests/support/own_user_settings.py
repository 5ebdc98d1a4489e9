"""The product's settings with a user model of the site's own."""

from messaging_site.settings import *  # noqa: F403
from messaging_site.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.own_users"]
AUTH_USER_MODEL = "own_users.Member"
