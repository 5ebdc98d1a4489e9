"""The WSGI application, which serves only pages; WebSockets need `messaging_site.asgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "messaging_site.settings")
application = get_wsgi_application()
