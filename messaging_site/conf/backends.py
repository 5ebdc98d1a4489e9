"""The backends of each kind of deployment: dotted paths with their options, in the form of the settings."""

from dataclasses import dataclass, field
from typing import Any

from messaging_site.conf import endpoints

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backends:
    """The backends of a deployment.

    `announcer`: the function that announces changes made outside a connection (messaging/transports/announcing.py).
    `states`: the store of the states of connections that a gateway holds. `layers`: Channels' settings. {}: none.
    `metrics`: the recorder of measurements. `client`: the client library of the backends, for traces.
    """

    store: Config
    limiter: Config
    addresses: Config
    states: Config = field(default_factory=dict)
    layers: Config = field(default_factory=dict)
    announcer: str = "messaging.transports.announcing.to_layer"
    client: str = ""
    metrics: str = "messaging.observability.prometheus.PrometheusRecorder"


def memory(*, ttl: int) -> Backends:
    """Return the backends of a single process. `ttl`: seconds after which a connection that is not renewed expires."""
    return Backends(
        store={"BACKEND": "messaging.backends.memory.MemoryStore", "OPTIONS": {"ttl": ttl}},
        limiter={"BACKEND": "messaging.backends.memory.MemoryLimiter"},
        addresses={"BACKEND": "messaging.backends.memory.MemoryAddresses"},
        layers={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}}},
    )


def redis(url: str, password: str | None, *, ttl: int) -> Backends:
    """Return the backends of any number of processes that share one Redis."""
    server = {"url": url, "password": password}
    hosts = [endpoints.channel_layer_host(url, password)]
    return Backends(
        store={"BACKEND": "messaging.backends.redis.store.RedisStore", "OPTIONS": {**server, "ttl": ttl}},
        limiter={"BACKEND": "messaging.backends.redis.limiter.RedisLimiter", "OPTIONS": server},
        addresses={"BACKEND": "messaging.backends.redis.addresses.RedisAddresses", "OPTIONS": server},
        layers={
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": hosts, "prefix": "messaging"},
            }
        },
        client="redis",
    )


def dynamodb(table: str, region: str, *, ttl: int) -> Backends:
    """Return the backends of Lambda functions that share one DynamoDB table; a gateway holds the WebSockets."""
    place = {"table": table, "region": region}
    return Backends(
        store={"BACKEND": "messaging.backends.dynamodb.store.DynamoDBStore", "OPTIONS": {**place, "ttl": ttl}},
        limiter={"BACKEND": "messaging.backends.dynamodb.limiter.DynamoDBLimiter", "OPTIONS": place},
        addresses={
            "BACKEND": "messaging.backends.dynamodb.addresses.DynamoDBAddresses",
            "OPTIONS": {**place, "ttl": ttl},
        },
        states={"BACKEND": "messaging.backends.dynamodb.states.ConnectionStates", "OPTIONS": {**place, "ttl": ttl}},
        announcer="messaging.transports.announcing.to_gateway",
        metrics="messaging.observability.emf.EmfRecorder",
        client="botocore",
    )
