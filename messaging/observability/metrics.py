"""All metrics: their names, help texts, and all values that their labels may have (docs/observability.md).

Each label has a fixed set of values, so that no client can create a series. Pure.
"""

from dataclasses import dataclass
from typing import get_args

from messaging.protocol.codes import CloseCode, ErrorCode, Scope

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LIFETIMES = (1, 10, 60, 600, 3_600, 7_200, 43_200, 86_400)  # seconds
BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # messages

NOBODY = "unidentified"
ROLES = ("user", "admin")
CONNECTED = (*ROLES, NOBODY)
# The close codes of browsers, proxies and the server library (RFC 6455 section 7.4.1), then our own.
CLOSES = ("1000", "1001", "1005", "1006", "1009", "1011", *(str(int(code)) for code in CloseCode))
OTHER = "other"
STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
STORES = ("connections", "limits", "addresses", "states")


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A metric. `labels`: the name of each label with its possible values."""

    name: str
    help: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Counter(Metric):
    pass


@dataclass(frozen=True, slots=True, eq=False)
class Gauge(Metric):
    pass


@dataclass(frozen=True, slots=True, eq=False)
class Histogram(Metric):
    buckets: tuple[float, ...] = SECONDS


CONNECTS = Counter(
    "messaging_websocket_connects_total",
    "Attempts to open a WebSocket: accepted, or refused for its origin, too much from its address, or a full process.",
    (("result", ("accepted", "origin", "address", "full")),),
)
DISCONNECTS = Counter(
    "messaging_websocket_disconnects_total",
    "WebSockets that ended, by close code.",
    (("role", CONNECTED), ("code", (*CLOSES, OTHER))),
)
CONNECTION_SECONDS = Histogram(
    "messaging_websocket_connection_duration_seconds", "Duration of WebSockets.", buckets=LIFETIMES
)
MESSAGES = Counter(
    "messaging_messages_total",
    "Acknowledged messages; a duplicate had been acknowledged before.",
    (("role", ROLES), ("result", ("accepted", "duplicate"))),
)
ERRORS = Counter(
    "messaging_errors_total", "Error frames that were sent.", (("code", tuple(str(code) for code in ErrorCode)),)
)
REFUSALS = Counter(
    "messaging_limit_refusals_total",
    "Frames and handshakes that a limit refused (docs/limits.md).",
    (("limit", get_args(Scope)),),
)
ACK_SECONDS = Histogram("messaging_message_ack_seconds", "Time from the frame of a message to its acknowledgement.")
DELIVERY_SECONDS = Histogram(
    "messaging_message_delivery_seconds",
    "Time from the commit of a message, by the database's clock, to its delivery to the sockets of one process.",
)
COMMIT_SECONDS = Histogram("messaging_commit_seconds", "Duration of the journal's transactions, with retries.")
COMMIT_MESSAGES = Histogram("messaging_commit_messages", "Messages per transaction of the journal.", buckets=BATCHES)
HTTP_SECONDS = Histogram(
    "messaging_http_request_seconds", "Duration of requests for pages, by class of status.", (("status", STATUSES),)
)
DROPS = Counter(
    "messaging_outbound_drops_total",
    "Frames and hints not sent: a reader's outbox was full, a reader read nothing, or the queue of hints was full.",
    (("reason", ("outbox", "stalled", "hint")),),
)
RESUMES = Counter(
    "messaging_resume_total",
    "Clients that reconnected with a cursor; after a gap they load history again.",
    (("result", ("ok", "gap")),),
)
CATCH_UPS = Counter("messaging_catchup_rows_total", "Messages found in the journal that no hint had announced.")
LAYER_ERRORS = Counter("messaging_layer_publish_errors_total", "Publishes that did not reach the channel layer.")
FOREIGN = Counter(
    "messaging_foreign_hints_total",
    "Bundles of hints that were ignored because they came from a process with another journal.",
)

CONNECTIONS = Gauge("messaging_websocket_connections", "WebSockets that this process serves.", (("role", CONNECTED),))
CONNECTIONS_LIMIT = Gauge("messaging_websocket_connections_limit", "The most WebSockets that this process accepts.")
ADDRESSES = Gauge("messaging_websocket_addresses", "Client addresses with open WebSockets of this process.")
ADDRESS_CONNECTIONS_MAX = Gauge(
    "messaging_websocket_address_connections_max",
    "Open WebSockets of the client address that has the most of this process.",
)
OUTBOX_BYTES = Gauge("messaging_outbound_queue_bytes", "Bytes in this process that wait for slow readers.")
LOG_WAITING = Gauge("messaging_log_waiting_messages", "Messages that wait for a transaction.")
DATABASE_UP = Gauge("messaging_database_up", "1 if the database answers.")
DATABASE_CONNECTIONS = Gauge(
    "messaging_database_connections", "Connections that PostgreSQL serves, of all its clients; NaN if it is not known."
)
DATABASE_CONNECTIONS_LIMIT = Gauge(
    "messaging_database_connections_limit",
    "The most connections that PostgreSQL accepts, without those for superusers; NaN if it is not known.",
)
# Under django-prometheus' names: messaging/observability/prometheus.py takes the objects of that library.
MIGRATIONS_APPLIED = Gauge(
    "django_migrations_applied_total",
    "Migrations that the database has; NaN if it is not known.",
    (("connection", ("default",)),),
)
MIGRATIONS_UNAPPLIED = Gauge(
    "django_migrations_unapplied_total",
    "Migrations of this version that the database lacks; NaN if it is not known.",
    (("connection", ("default",)),),
)
LAYER_UP = Gauge("messaging_layer_up", "1 if this process receives what others publish, and its own publishes arrive.")
STORE_UP = Gauge(
    "messaging_store_up",
    "1 if a backend answered the last request, by the request's purpose; always 1 for a backend in this process.",
    (("store", STORES),),
)
LOOP_LAG = Gauge(
    "messaging_event_loop_lag_seconds", "The longest delay of the event loop in the last 15 to 30 seconds."
)
DRAINING = Gauge("messaging_draining", "1 while this process drains: it sends its clients elsewhere.")
BUILD_INFO = Gauge("messaging_build_info", "Always 1.", (("version", ()),))  # its value is the VERSION of the settings

METRICS: tuple[Metric, ...] = tuple(value for value in globals().values() if isinstance(value, Metric))


def close_code(code: int) -> str:
    """Return the label value for the close code `code`."""
    return str(code) if str(code) in CLOSES else OTHER
