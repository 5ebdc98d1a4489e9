"""The undocumented parts of libraries that messaging_site/server relies on. What they do is tested in deployments/.

If a new version of a library renames or drops a name, setting or overriding it would silently have no effect.
"""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# Each module of a library, with the names that messaging_site/server uses of it and that its documentation leaves out.
INTERNALS: dict[str, set[str]] = {
    # A request's time-out, which starts anew with every byte, and that of an idle connection. The limits of a request,
    # the answers to a bad one, the pause before the next one, and what waits while one is served.
    "twisted.web.http": {
        "_savedTimeOut", "timeOut", "resetTimeout", "requestDone", "maxHeaders", "totalHeadersSize", "headerReceived",
        "allHeadersReceived", "allContentReceived", "gotLength", "handleContentChunk", "parsePOSTFormSubmission",
        "_transferDecoder", "_maxTrailerHeadersSize", "_respondToBadRequestAndDisconnect", "_receivedHeaderSize",
        "_receivedHeaderCount", "_handlingRequest", "_dataBuffer", "_optimisticEagerReadSize", "_networkProducer",
        "_command", "persistent", "requests", "writeHeaders",
    },
    # What waits to be written: if nothing does, frames go directly to the kernel. The size of one read.
    "twisted.internet.abstract": {
        "dataBuffer", "offset", "_tempDataBuffer", "_tempDataLen", "writeSomeData", "producerPaused", "bufferSize",
        "loseWriteConnection", "startWriting",
    },
    # The connections of a port.
    "twisted.internet.tcp": {"transport", "factory", "connectionLost", "socket"},
    # The connections that still have bytes to write when the process stops.
    "twisted.internet.asyncioreactor": {"getWriters"},
    # Parsing in turns, the short text frame, and what a socket keeps of its handshake.
    "autobahn.websocket.protocol": {
        "_dataReceived", "_transport_details", "http_headers", "http_request_data", "http_response_data",
        "websocket_extensions", "consumeData", "processData", "current_frame", "inside_message", "send_queue",
        "STATE_OPEN", "STATE_CLOSING", "STATE_CLOSED", "CONFIG_ATTRS", "failByDrop", "message_data", "frame_data",
        "onMessageFrameBegin", "onMessageFrameData", "onMessageFrame", "_fail_connection",
    },
    "daphne.http_protocol": {
        "WebRequest", "HTTPFactory", "process", "daphne-root-path", "handle_reply", "finish", "check_timeouts",
        "application_queue", "_response_started",
    },
    "daphne.ws_protocol": {"serverSend", "handle_reply", "onConnect", "onOpen", "onClose"},
    "daphne.server": {
        "create_application", "kill_all_applications", "handle_reply", "listen_success", "connections", "ws_factory",
        "protocol_disconnected", "application_instance", "disconnected", "signal_handlers",
    },
}  # fmt: skip


def source(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text()


@pytest.mark.parametrize("module", INTERNALS)
def test_a_library_still_has_what_the_server_uses_of_it(module: str) -> None:
    text = source(module)
    assert {name for name in INTERNALS[module] if not re.search(rf"\b{name}\b", text)} == set()


def test_the_server_uses_each_of_them() -> None:
    used = "".join(file.read_text() for file in (ROOT / "messaging_site" / "server").glob("*.py"))
    named = {name for names in INTERNALS.values() for name in names}
    assert {name for name in named if not re.search(rf"\b{name}\b", used)} == set()


def test_nobody_else_uses_daphne_twisted_or_autobahn() -> None:
    files = [file for part in ("messaging", "messaging_site") for file in (ROOT / part).rglob("*.py")]
    users = {
        file for file in files if re.search(r"^\s*(from|import) (daphne|twisted|autobahn)\b", file.read_text(), re.M)
    }
    assert {file.parent for file in users} == {
        ROOT / "messaging_site" / "server",
        ROOT / "messaging/management/commands",
    }
