#!/usr/bin/env python
"""Django's command line."""

import os
import sys

from messaging_site.conf.env import stop_on_bad_configuration


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "messaging_site.settings")
    from django.core.management import execute_from_command_line

    stop_on_bad_configuration()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
