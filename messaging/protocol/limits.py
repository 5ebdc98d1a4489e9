"""The limits and times of the wire protocol (docs/protocol.md). Pure."""

FRAME_LIMIT = 16 * 1024  # bytes of one client frame that the application accepts
SOCKET_LIMIT = 64 * 1024  # bytes of one client frame; a larger one closes with 1009 (RFC 6455 section 7.4.1)
PAGE_LIMIT = 28 * 1024  # bytes of one history frame: API Gateway's hard limit is 32 KB a frame
CONTENT_LIMIT = 2_000  # Unicode code points of one message
CURSOR_LIMIT = 64  # characters
HISTORY_LIMIT = 100  # messages that one history request may ask for
HISTORY_DEFAULT = 50
IDENTIFY_SECONDS = 10  # time until the first frame of a connection
RETRY_MS = 1000  # the wait that the server asks for after `unavailable`
