"""The time-outs of Redis, in seconds."""

STORE_SECONDS = 0.5  # for one command of the connection store
LIMITER_SECONDS = 0.1  # for one command of the rate limits, which each message waits for
ADDRESSES_SECONDS = 0.1  # for one command that counts the connections of an address
HANDSHAKE_SECONDS = 0.5  # how long a handshake waits for the counts of other processes

# The channel layer.
LAYER_SECONDS = 15  # not redis-py's own 5, which equals the poll interval of some layers and ends idle connections
LAYER_CONNECT_SECONDS = 2
LAYER_HEALTH_SECONDS = 10  # between two checks of an idle connection
# The channel layer asks one Sentinel after another, and a publish may take 1 second, so two of them may be silent.
SENTINEL_SECONDS = 0.4
