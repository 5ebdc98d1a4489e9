"""ministack, run in its own environment, with version 1.5.33 corrected where it differs from AWS.

These are the differences of version 1.5.33, and the corrections:
- It served the frames of one WebSocket one after another, and all WebSockets of a function by one process, and it sent
  the function's answer to the client. API Gateway passes on each frame as it arrives, to any process, and sends no
  answer.
- A function had as many processes as it had events at the same time. Here it has FUNCTION_PROCESSES; on AWS the account
  has a limit.
- Every process unpacked the package for itself. Here all share one copy, as no process can write to it on AWS.
- It failed if a function answered without a body, as Zappa does if the body is empty.
- A function's log output was lost if the function served a WebSocket, or if the output came a few milliseconds late.
  Here the output of all functions is in ministack's own log.
- If a function's variables were changed, its processes were killed in the middle of an event. On AWS they complete
  their events.
- A template's table was created without its time to live, its backups and its encryption.
- No WebSocket ended by itself. API Gateway ends each one that is silent for 10 minutes, and each one after 2 hours.
  Here these times are over when this process gets a signal: SIGUSR1 for the 10 minutes, SIGUSR2 for the 2 hours.
- A rule of EventBridge waited for its real interval. Here the minutes of a `rate()` are seconds.
- All clients of a test have the address of this machine. Here a client may have another one, by a header that AWS
  does not know.
"""

import asyncio
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from ministack import app
from ministack.core import lambda_runtime
from ministack.services import apigateway, dynamodb, eventbridge, lambda_svc
from ministack.services.cloudformation import provisioners

# The number of events that functions serve at the same time, each in its own process; others wait. AWS's limit is 10 or
# more, and it refuses the others.
AT_ONCE = int(os.environ["FUNCTION_PROCESSES"])
END = "\x1eend of the event"  # the last line that a function's process prints for each event
CLIENT_ADDRESS = b"x-client-address-for-tests"
GOING_AWAY = {"code": 1001, "reason": "Going away"}  # the close frame by which API Gateway ends a WebSocket

_send_response = app._send_response
_handle_websocket = apigateway.handle_websocket
_invoke_route = apigateway._invoke_ws_lambda
_acquire_worker = lambda_runtime.acquire_worker
_release_worker = lambda_runtime.release_worker
_invoke = lambda_runtime.Worker.invoke
_read_stderr = lambda_runtime.Worker._read_stderr
_kill_workers = lambda_runtime.kill_workers
_parse_rate_seconds = eventbridge._parse_rate_seconds
_table = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
_create_table = _table["create"]

_slots = threading.BoundedSemaphore(AT_ONCE)
_frames: set[asyncio.Task[None]] = set()  # being served: the event loop itself keeps only weak references
_unpacking = threading.Lock()


async def send_response(send: Any, status: int, headers: Any, body: Any, **options: Any) -> None:
    """Answer an HTTP request, with an empty body if there is none."""
    await _send_response(send, status, headers, b"" if body is None else body, **options)


class Socket:
    """An ASGI WebSocket that the gateway may end."""

    opened: ClassVar["set[Socket]"] = set()

    def __init__(self, receive: Any, send: Any) -> None:
        self._receive = receive
        self._send = send
        self._ended = asyncio.Event()
        self._silent = False  # since the idle limit was last reached

    async def receive(self) -> dict[str, Any]:
        """Return the client's next event, or a disconnect event if the gateway has ended the WebSocket."""
        received, ended = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({received, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return {"type": "websocket.disconnect", **GOING_AWAY}
            self._is_used()
            event: dict[str, Any] = received.result()
            return event
        finally:
            received.cancel()
            ended.cancel()

    async def send(self, event: dict[str, Any]) -> None:
        """Send an event to the client."""
        self._is_used()
        if event["type"] == "websocket.close" and self._ended.is_set():
            event |= GOING_AWAY
        await self._send(event)

    def _is_used(self) -> None:
        if self._silent:
            self._silent = False
            _say("a WebSocket is silent no more")

    @classmethod
    def idle_limit(cls) -> None:
        """End each WebSocket that has carried nothing since the last call."""
        silent = {socket for socket in cls.opened if socket._silent}
        for socket in cls.opened:
            socket._silent = True
        cls._end("idle", silent)

    @classmethod
    def life_limit(cls) -> None:
        """End each open WebSocket."""
        cls._end("life", cls.opened)

    @staticmethod
    def _end(limit: str, sockets: "set[Socket]") -> None:
        for socket in sockets:
            socket._ended.set()
        _say(f"{len(sockets)} WebSockets end by the {limit} limit")


def _say(text: str) -> None:
    print(f"gateway: {text}", file=sys.stderr, flush=True)


async def handle_websocket(scope: Any, receive: Any, send: Any, *route: Any, **options: Any) -> None:
    """Serve a WebSocket until the client or the gateway ends it."""
    if CLIENT_ADDRESS in (headers := dict(scope["headers"])):
        scope |= {"client": (headers[CLIENT_ADDRESS].decode(), 0)}
    socket = Socket(receive, send)
    Socket.opened.add(socket)
    try:
        await _handle_websocket(scope, socket.receive, socket.send, *route, **options)
    finally:
        Socket.opened.discard(socket)


async def invoke_route(*event: Any, **options: Any) -> dict[str, Any] | None:
    """Serve an event of a WebSocket. Wait for the answer only if the event opens or closes the WebSocket."""
    *_, connection_id, event_type, request_id, _, _, _ = event
    if event_type != "MESSAGE":
        answer: dict[str, Any] | None = await _invoke_route(*event, **options)
        return answer
    task = asyncio.create_task(_serve_frame(connection_id, request_id, event, options))
    _frames.add(task)
    task.add_done_callback(_frames.discard)
    return None


async def _serve_frame(connection_id: str, request_id: str, event: tuple[Any, ...], options: dict[str, Any]) -> None:
    answer = await _invoke_route(*event, **options)
    connection = apigateway._ws_connections.get(connection_id)
    if connection and answer and answer.get("statusCode") == 500:  # the function has ended with an error
        error = {"message": "Internal server error", "connectionId": connection_id, "requestId": request_id}
        connection["outbox"].put_nowait(json.dumps(error))


def acquire_worker(*function: Any, **options: Any) -> Any:
    """Wait for a process of a function, and take the one that has been idle for the longest time.

    So consecutive events may be served by different processes.
    """
    _slots.acquire()
    return _acquire_worker(*function, **options)


def release_worker(worker: Any) -> None:
    """Give back a process; None stands for one that was lost."""
    with lambda_runtime._lock:
        for workers in lambda_runtime._workers.values():
            if worker in workers:
                workers.remove(worker)
                workers.append(worker)
    _release_worker(worker)
    _slots.release()


class AnyWorker:
    """A replacement for the one process that served all WebSockets of a function: each event takes its own process."""

    def __init__(self, *function: Any, **options: Any) -> None:
        self._function = function
        self._options = options

    def invoke(self, event: Any, request_id: str) -> dict[str, Any]:
        """Serve an event."""
        worker, _ = acquire_worker(*self._function, **self._options)
        try:
            result: dict[str, Any] = worker.invoke(event, request_id)
            return result
        finally:
            release_worker(worker)


class Package(zipfile.ZipFile):
    """A function's package, which is unpacked only once."""

    def extractall(self, path: Any = None, members: Any = None, pwd: Any = None) -> None:
        """Replace the empty directory `path` with a link to the unpacked package."""
        assert self.filename
        digest = hashlib.sha256(Path(self.filename).read_bytes()).hexdigest()
        shared = Path(tempfile.gettempdir()) / f"package-{digest}"
        with _unpacking:
            if not shared.exists():
                super().extractall(shared)
        Path(path).rmdir()
        Path(path).symlink_to(shared)


def invoke(worker: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
    """Serve an event in `worker`, and print the function's log output."""
    result: dict[str, Any] = _invoke(worker, *arguments, **options)
    for line in result.get("log", "").splitlines():
        print(f"function: {line}", file=sys.stderr, flush=True)
    return result


def read_stderr(worker: Any) -> None:
    """Collect a process's log output until the process ends, which also ends its event."""
    log = worker._stderr_queue
    _read_stderr(worker)
    log.put(END)


def logged(worker: Any, *_arguments: Any, **_options: Any) -> str:
    """Return a process's log output up to the end of its event, or of the process."""
    return "\n".join(iter(worker._stderr_queue.get, END))


def marked(script: str) -> str:
    """Return the program of a function's process, changed to print END after each event."""
    last = "        _real_stdout.flush()\n\nrun()"
    assert script.count(last) == 1
    return script.replace(last, f"        print({END!r}, file=sys.stderr, flush=True)\n{last}")


def kill_workers(workers: Iterable[Any]) -> None:
    """End processes, each as soon as it serves no event."""
    for worker in workers:
        # Not waited for: the event may itself need an answer of ministack, which this call may be blocking.
        threading.Thread(target=_kill_when_idle, args=[worker], daemon=True).start()


def _kill_when_idle(worker: Any) -> None:
    with worker._lock:  # held while an event is served
        _kill_workers([worker])


def create_table(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
    """Create a template's table with all properties in the template."""
    created = _create_table(logical_id, properties, stack)
    name = {"TableName": created[0]}
    dynamodb._update_ttl(name | {"TimeToLiveSpecification": properties["TimeToLiveSpecification"]})
    backups = properties["PointInTimeRecoverySpecification"]
    dynamodb._update_continuous_backups(name | {"PointInTimeRecoverySpecification": backups})
    encrypted = properties["SSESpecification"]["SSEEnabled"]  # the API calls it Enabled
    dynamodb._update_table(name | {"SSESpecification": {"Enabled": encrypted}})
    return created


def parse_rate_seconds(expression: str) -> float | None:
    """Return the seconds between two runs of a rule, a 60th of those in `expression`; None if it is no rate."""
    seconds: float | None = _parse_rate_seconds(expression)
    return seconds and seconds / 60


app._send_response = send_response
apigateway.handle_websocket = handle_websocket
apigateway._invoke_ws_lambda = invoke_route
lambda_svc.acquire_worker = acquire_worker
lambda_svc.release_worker = release_worker
lambda_runtime.get_or_create_worker = AnyWorker
lambda_runtime.zipfile = SimpleNamespace(**{**vars(zipfile), "ZipFile": Package})
lambda_runtime.Worker.invoke = invoke
lambda_runtime.Worker._read_stderr = read_stderr
lambda_runtime.Worker._drain_stderr_bounded = logged
lambda_runtime._PYTHON_WORKER_SCRIPT = marked(lambda_runtime._PYTHON_WORKER_SCRIPT)
lambda_runtime.kill_workers = kill_workers
eventbridge._parse_rate_seconds = parse_rate_seconds
eventbridge._SCHEDULER_TICK_INTERVAL = 0.5
_table["create"] = create_table

for number, limit in ((signal.SIGUSR1, Socket.idle_limit), (signal.SIGUSR2, Socket.life_limit)):
    signal.signal(number, lambda *_, limit=limit: app._MAIN_LOOP.call_soon_threadsafe(limit))

if __name__ == "__main__":
    app.main()
