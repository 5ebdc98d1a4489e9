"""Settings, all from the environment (docs/configuration.md). The mode is named here and nowhere else."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from wsgiref.headers import Headers

from csp.constants import NONE, SELF
from django.core.management.utils import get_random_secret_key

from messaging.observability.metrics import SECONDS
from messaging.service.throttle import LEAST, Rates
from messaging_site.conf import backends, endpoints, env, files, logs

BASE_DIR = Path(__file__).resolve().parent.parent


def _detected_mode() -> str:
    # AWS_REGION proves nothing: laptops and pods have it too.
    if env.present("AWS_LAMBDA_FUNCTION_NAME"):
        return "aws"
    return "kubernetes" if env.present("KUBERNETES_SERVICE_HOST") else "local"


MODE = env.choice("DEPLOYMENT_MODE", env.text("DEPLOYMENT_MODE") or _detected_mode(), ("local", "kubernetes", "aws"))
env.stop_on_problems()  # in a wrong mode, everything else would look wrong
LOCAL, AWS = MODE == "local", MODE == "aws"
# Names that shells and other programs use as well have a prefix. The bare names are read too where that is safe: only
# the server uses HOST, and refuses one that is no address; the others count where the environment is made for this
# process.
env.also("MESSAGING_HOST", "HOST")
if not LOCAL:
    env.also("MESSAGING_VERSION", "VERSION")
    env.also("MESSAGING_LOG_LEVEL", "LOG_LEVEL")
VERSION = env.version("MESSAGING_VERSION", "dev")  # of this build, for metrics and logs
VAR_DIR = env.directory("VAR_DIR", BASE_DIR / "var", make=LOCAL)  # for the files of a single machine


def _local_secret_key() -> str:
    """Return this machine's own key, which is kept so that visitors stay the same when the server restarts."""
    path = VAR_DIR / "secret_key"
    if files.make_private(path):
        path.write_text(get_random_secret_key())
    return path.read_text()


if AWS:
    env.required(
        "WEBSOCKET_PUBLIC_URL", "the URL that pages connect to, wss://{api}.execute-api.{region}.amazonaws.com/{stage}"
    )
WEBSOCKET_PUBLIC_URL = env.url("WEBSOCKET_PUBLIC_URL", ("wss", "ws"), "wss://chat.example.org/ws")
VISITORS_URL = env.url("VISITORS_URL", ("https", "http"), "https://chat.example.org/user/")
STATIC_URL = env.directory_url("STATIC_URL", "/static/")  # a path of this host, unless the variable is set
STATIC_SOURCES = [] if STATIC_URL.startswith("/") else [STATIC_URL]  # of the content security policy, besides SELF

# --- Security -----------------------------------------------------------------------------------------------

DEBUG = env.flag("MESSAGING_DEBUG", False, never="" if LOCAL else "its pages show settings and code to everyone")
if LOCAL:
    # The machine's own key is made only if VAR_DIR, and a key that was given, can be read.
    SECRET_KEY = env.text("SECRET_KEY") or (_local_secret_key() if env.is_sound() else "")
    ALLOWED_HOSTS = env.host_names("ALLOWED_HOSTS", ("localhost", "127.0.0.1", "[::1]"))
else:
    SECRET_KEY = env.required("SECRET_KEY", "50 random characters to sign sessions and tokens")
    env.required("ALLOWED_HOSTS", "the host names of this site, such as chat.example.org")
    ALLOWED_HOSTS = env.host_names("ALLOWED_HOSTS")
SECRET_KEY_FALLBACKS = env.secrets("SECRET_KEY_FALLBACKS")  # still valid, while SECRET_KEY is rotated
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")

HTTPS_ONLY = env.flag("HTTPS_ONLY", not LOCAL)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS_ONLY
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS_ONLY else 0
if HTTPS_ONLY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # the owner of the domain decides whether subdomains are HTTPS only
    "security.W008",  # the ingress redirects to HTTPS
    "security.W021",  # the owner of the domain decides on preloading
]
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024  # bytes of a request: forms, no files
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
# No script reads these cookies: the live page's script takes its CSRF token from the form, and every script takes its
# language from the page.
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"  # as Django sets it for the other two
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, *STATIC_SOURCES],
        "style-src": [SELF, *STATIC_SOURCES],
        "img-src": [SELF, *STATIC_SOURCES, "data:"],  # Django admin's icons
        "connect-src": [SELF, *endpoints.websocket_origins(WEBSOCKET_PUBLIC_URL)],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# Five wrong passwords for one name from one address block further tries for 15 minutes.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "messaging.transports.client_address.of_request"
AXES_WHITELIST_CALLABLE = "messaging_site.logins.is_known"
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
# Tries to sign in, before the password is hashed: of one address, and of all (messaging_site/logins.py).
LOGIN_RATE_ADDRESS = env.rate("RATE_LIMIT_LOGIN_ADDRESS", 20, 3.0)
LOGIN_RATE = env.rate("RATE_LIMIT_LOGIN", 30, 1.0)
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]

# --- Applications -------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "messaging",  # first, so that its `runserver` is used
    "messaging_site.apps.CheckedAdminConfig",  # django.contrib.admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
]
MIDDLEWARE = [
    "messaging.observability.request_ids.identified",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "messaging_site.middleware.permissions_policy",
    "messaging_site.unreadable.refuse_unreadable",
    "messaging_site.static_requests.middleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",  # the language of the cookie, or else of the browser
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "messaging_site.middleware.Authentication",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # last, as its documentation requires
]
# On AWS nothing runs between requests that could close the connections of staff who have lost their rights, so
# `close_revoked` does it after a request. It has to wrap every middleware that commits something.
if AWS:
    MIDDLEWARE = [
        "messaging.checks.stop_on_errors",
        "messaging.transports.apigateway.revocation.close_revoked",
        *MIDDLEWARE,
    ]
else:
    MIDDLEWARE = [*MIDDLEWARE[:-1], "messaging_site.page_metrics.measured", MIDDLEWARE[-1]]
PROMETHEUS_LATENCY_BUCKETS = SECONDS  # django-prometheus' setting for its histograms: those of our own
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "messaging_site.urls"
ASGI_APPLICATION = "messaging_site.asgi.application"
WSGI_APPLICATION = "messaging_site.wsgi.application"
SERVICE_ROLE = env.choice("SERVICE_ROLE", "all", ("all", "websocket", "user", "admin"))

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- The journal and Django's tables --------------------------------------------------------------------

if LOCAL:
    DATABASE_URL = env.text("DATABASE_URL", f"sqlite:///{VAR_DIR / 'db.sqlite3'}")
else:
    DATABASE_URL = env.required("DATABASE_URL", "the database for messages, postgres://user:password@host:5432/name")
# On AWS a check refuses SQLite, so that the error is reported together with all others there (messaging/checks.py).
# The connections to PostgreSQL of one process: one for each page request at work, the journal's readers, one to write
# messages, and one more while another is replaced (docs/operations.md). A function serves one event at a time.
PAGE_REQUESTS = 1 if AWS or SERVICE_ROLE == "websocket" else 2 if SERVICE_ROLE == "all" else 3
JOURNAL_READERS = 1 if AWS else 4 - PAGE_REQUESTS
DATABASE_CONNECTIONS = PAGE_REQUESTS + JOURNAL_READERS + 2
MESSAGING_JOURNAL_OPTIONS: dict[str, Any] = {"readers": JOURNAL_READERS}
DATABASES: dict[str, dict[str, Any]] = {"default": {}}
if DATABASE_URL:
    DATABASES["default"] = env.judged(
        lambda: endpoints.database(DATABASE_URL, sqlite_allowed=LOCAL or AWS, tls=AWS), DATABASES["default"]
    )
PRIVATE_FILES = [*files.of_database(DATABASES["default"]), VAR_DIR / "secret_key"] if LOCAL else []
if len(PRIVATE_FILES) > 1 and env.is_sound():
    files.make_private(PRIVATE_FILES[0])  # SQLite would let everyone read it
files.keep_private(PRIVATE_FILES)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]  # each in its own language, for readers who don't know the other
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True

# --- Messaging ----------------------------------------------------------------------------------------------

# Seconds. A gateway's WebSocket lives for two hours, and its rows in the store are not renewed regularly.
CONNECTION_TTL = env.number("CONNECTION_TTL", 7_800 if AWS else 86_400, least=7_200 if AWS else 120, most=30 * 86_400)
MESSAGE_RETENTION_DAYS = env.number("MESSAGE_RETENTION_DAYS", 30, least=1, most=36_500)
MESSAGING_HEARTBEAT_MS = env.number("HEARTBEAT_MS", 240_000 if AWS else 25_000, least=1_000, most=240_000)
MESSAGING_CATCH_UP_SECONDS = 2.0  # between two searches of the journal for messages that no hint announced
MESSAGING_RATES = Rates(
    visitor=env.rate("RATE_LIMIT_VISITOR", 5, 2.0),
    admin=env.rate("RATE_LIMIT_ADMIN", 20, 0.05),
    # In units of processor time (docs/limits.md). An address has what a hall of 1,000 people needs.
    connection=env.rate("RATE_LIMIT_CONNECTION", 3_000, 0.002, least=LEAST),
    address=env.rate("RATE_LIMIT_ADDRESS", 100_000, 0.0004, least=LEAST),
    conversations=env.rate("RATE_LIMIT_CONVERSATIONS", 1_500, 2.0),
)
SOCKETS_PER_ADDRESS = env.number("SOCKETS_PER_ADDRESS", 2_500, most=1_000_000)  # 0: no limit
# How many proxies' X-Forwarded-For entries are trusted. API Gateway appends one, Zappa's only source of the address.
TRUSTED_PROXY_COUNT = env.number("TRUSTED_PROXY_COUNT", 1 if AWS else 0, most=10)
# Whose headers are believed at all. Functions have no peers: only the gateway calls them.
TRUSTED_PROXIES = [] if AWS else env.networks("TRUSTED_PROXIES")

CONNECTIONS_TABLE_NAME = AWS_REGION = ""
WEBSOCKET_API_ENDPOINT = None  # None: no gateway holds the WebSockets
if LOCAL:
    _backends = backends.memory(ttl=CONNECTION_TTL)
elif AWS:  # checks report if one of these three is missing or wrong (messaging/checks.py)
    CONNECTIONS_TABLE_NAME = env.text("CONNECTIONS_TABLE_NAME", "")
    AWS_REGION = env.text("AWS_REGION", "")
    WEBSOCKET_API_ENDPOINT = env.text("WEBSOCKET_API_ENDPOINT", "")
    _backends = backends.dynamodb(CONNECTIONS_TABLE_NAME, AWS_REGION, WEBSOCKET_API_ENDPOINT, ttl=CONNECTION_TTL)
else:
    REDIS_URL = env.required("REDIS_URL", "the Redis that connects the pods, such as redis://host:6379/0")
    REDIS_PASSWORD = env.text("REDIS_PASSWORD")
    REDIS_KEY_PREFIX = env.text("REDIS_KEY_PREFIX", "")  # of all keys and channels
    _backends = backends.memory(ttl=CONNECTION_TTL)
    if REDIS_URL:
        _backends = env.judged(
            lambda: backends.redis(REDIS_URL, REDIS_PASSWORD, REDIS_KEY_PREFIX, ttl=CONNECTION_TTL), _backends
        )
MESSAGING_STORE, MESSAGING_STATES = _backends.store, _backends.states
MESSAGING_LIMITER, MESSAGING_ADDRESSES = _backends.limiter, _backends.addresses
MESSAGING_HOLDER, MESSAGING_GATEWAY = _backends.holder, _backends.gateway
CHANNEL_LAYERS = _backends.layers
# The SDK of OpenTelemetry reads the rest of OTEL_… by itself.
OTEL_EXPORTER_OTLP_ENDPOINT = env.url("OTEL_EXPORTER_OTLP_ENDPOINT", ("http", "https"), "http://collector:4318")
OTEL_SDK_DISABLED = env.flag("OTEL_SDK_DISABLED", False)
if OTEL_EXPORTER_OTLP_ENDPOINT and not OTEL_SDK_DISABLED:
    MESSAGING_TRACER = {
        "BACKEND": "messaging.observability.opentelemetry.OpenTelemetryTracer",
        "OPTIONS": {"service": SERVICE_ROLE, "version": VERSION, "client": _backends.client},
    }
else:
    MESSAGING_TRACER = {"BACKEND": "messaging.observability.tracer.Tracer"}
MESSAGING_METRICS = {"BACKEND": _backends.metrics, "OPTIONS": {"version": VERSION}}

# --- The server ---------------------------------------------------------------------------------------------

env.judge_when_used("MESSAGING_HOST", "PORT", "HEALTH_CHECK_PORT")  # `runserver` gets its address as an argument
HOST = env.address("MESSAGING_HOST", "127.0.0.1")  # the image sets 0.0.0.0: a container is reached on its own address
PORT = env.number("PORT", 8080, least=1, most=65_535)
HEALTH_CHECK_PORT = env.number("HEALTH_CHECK_PORT", 8081, least=1, most=65_535, other_than="PORT")
MAX_CONNECTIONS = env.number("MAX_CONNECTIONS", 10_000, least=1, most=1_000_000)  # of one process
SHUTDOWN_TIMEOUT = env.number("SHUTDOWN_TIMEOUT", 20, most=3_600)  # seconds in which connections are sent elsewhere
PING_SECONDS = 20  # between two pings to a socket; a socket that does not answer for as long is closed
OUTPUT_IS_LOGGED = AWS  # what a command prints stays in the log of the function that runs it
HEALTH_ON_APPLICATION_PORT = LOCAL  # runserver has one port; elsewhere the probes are internal
STATIC_ROOT = (  # for collectstatic
    None if LOCAL and not env.text("STATIC_ROOT") else str(env.directory("STATIC_ROOT", VAR_DIR / "static"))
)
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = LOCAL  # served from static/, also while files are edited
WHITENOISE_KEEP_ONLY_HASHED_FILES = not LOCAL  # pages name no others


def WHITENOISE_ADD_HEADERS_FUNCTION(headers: Headers, path: str, url: str) -> None:
    """Add the headers of files, which no middleware sees: whitenoise calls this once for each file."""
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"  # for a picture opened as a page


STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if LOCAL
        else "messaging_site.static.HashedStaticFiles"
    },
}

# --- Logs: events, never what people wrote ------------------------------------------------------------------

LOG_LEVEL = env.choice("MESSAGING_LOG_LEVEL", "INFO", logs.LEVELS)
LOGGING = logs.configuration(LOG_LEVEL, text=LOCAL, role=SERVICE_ROLE, version=VERSION)

env.stop_on_problems()
