"""The backends of each kind of deployment: dotted paths with their options, in the form of the settings."""

from dataclasses import dataclass, field
from typing import Any

from messaging_site.conf import endpoints

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backends:
    """The backends of a deployment.

    `holder`: what holds the clients' connections. `states`: the store of the states of connections that a gateway
    holds. `gateway`: the client of that gateway. `layers`: Channels' settings. {}: none.
    `metrics`: the recorder of measurements. `client`: the client library of the backends, for traces.
    """

    store: Config
    limiter: Config
    addresses: Config
    states: Config = field(default_factory=dict)
    gateway: Config = field(default_factory=dict)
    layers: Config = field(default_factory=dict)
    holder: Config = field(default_factory=lambda: {"BACKEND": "messaging.transports.channels.holder.ServerHolder"})
    client: str = ""
    metrics: str = "messaging.observability.prometheus.PrometheusRecorder"


def memory(*, ttl: int) -> Backends:
    """Return the backends of a single process. `ttl`: seconds after which a connection that is not renewed expires."""
    return Backends(
        store={"BACKEND": "messaging.backends.memory.MemoryStore", "OPTIONS": {"ttl": ttl}},
        limiter={"BACKEND": "messaging.backends.memory.MemoryLimiter"},
        addresses={"BACKEND": "messaging.backends.memory.MemoryAddresses"},
        layers={
            "default": {
                "BACKEND": "channels.layers.InMemoryChannelLayer",
                # By default the layer forgets who is in a group after a day, and a server may run for longer.
                "CONFIG": {"capacity": 10_000, "group_expiry": 100 * 365 * 86_400},
            }
        },
    )


def redis(url: str, password: str | None, prefix: str, *, ttl: int) -> Backends:
    """Return the backends of any number of processes that share one Redis. `prefix`: of all keys and channels."""
    server = {"url": url, "password": password, "prefix": endpoints.key_prefix(prefix)}
    hosts = [endpoints.channel_layer_host(url, password)]
    return Backends(
        store={"BACKEND": "messaging.backends.redis.store.RedisStore", "OPTIONS": {**server, "ttl": ttl}},
        limiter={"BACKEND": "messaging.backends.redis.limiter.RedisLimiter", "OPTIONS": server},
        addresses={"BACKEND": "messaging.backends.redis.addresses.RedisAddresses", "OPTIONS": server},
        layers={
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": hosts, "prefix": f"{prefix}messaging"},
            }
        },
        client="redis",
    )


def dynamodb(table: str, region: str, endpoint: str, *, ttl: int) -> Backends:
    """Return the backends of Lambda functions that share one DynamoDB table.

    `endpoint`: the URL of the management API of the gateway that holds the WebSockets.
    """
    place = {"table": table, "region": region}
    return Backends(
        store={"BACKEND": "messaging.backends.dynamodb.store.DynamoDBStore", "OPTIONS": {**place, "ttl": ttl}},
        limiter={"BACKEND": "messaging.backends.dynamodb.limiter.DynamoDBLimiter", "OPTIONS": place},
        addresses={
            "BACKEND": "messaging.backends.dynamodb.addresses.DynamoDBAddresses",
            "OPTIONS": {**place, "ttl": ttl},
        },
        states={"BACKEND": "messaging.backends.dynamodb.states.ConnectionStates", "OPTIONS": {**place, "ttl": ttl}},
        gateway={
            "BACKEND": "messaging.transports.apigateway.gateway.Gateway",
            "OPTIONS": {"endpoint": endpoint, "region": region},
        },
        holder={"BACKEND": "messaging.transports.apigateway.holder.GatewayHolder"},
        metrics="messaging.observability.emf.EmfRecorder",
        client="botocore",
    )
