"""Generated input that is not a frame, or is almost one."""

import json

from hypothesis import strategies as st

ACTIONS = ("identify", "sendMessage", "history", "ping", "setConnectionType")
FIELDS = (
    "type", "v", "id", "token", "since", "before", "limit", "content", "quick", "to", "conversation", "connectionType",
    "data",
)  # fmt: skip

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["user", "admin", "message-1", 2, 1, "0" * 13 + "." + "0" * 11]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=4),
    max_leaves=8,
)
almost_frames = st.fixed_dictionaries(
    {"action": st.sampled_from(ACTIONS) | values}, optional=dict.fromkeys(FIELDS, values)
)
garbage = st.text() | st.binary() | (almost_frames | values).map(json.dumps)
