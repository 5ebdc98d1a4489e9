"""What stands behind a deployment of each kind: backends as dotted paths with their options, as settings take them."""

from dataclasses import dataclass, field
from typing import Any

from messaging_site.conf import endpoints

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backends:
    """`announcer`: how open pages hear of what is done outside of a connection (messaging/transports/announcing.py).
    `states`: what is known of connections that a gateway holds. `layers`: Channels' settings. {}: there is none.
    `metrics`: where measurements go. `client`: the library that all this is reached by, for traces.
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
    """A single process. `ttl`: seconds after which a connection that is no longer heard of is forgotten."""
    return Backends(
        store={"BACKEND": "messaging.backends.memory.MemoryStore", "OPTIONS": {"ttl": ttl}},
        limiter={"BACKEND": "messaging.backends.memory.MemoryLimiter"},
        addresses={"BACKEND": "messaging.backends.memory.MemoryAddresses"},
        layers={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}}},
    )


def redis(url: str, password: str | None, *, ttl: int) -> Backends:
    """Any number of processes around one Redis."""
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
    """Lambda functions around one DynamoDB table; the WebSockets are a gateway's."""
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
