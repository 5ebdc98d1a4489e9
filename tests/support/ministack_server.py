"""Starts ministack, in its own environment, with five mistakes of version 1.5.33 put right.

A function may answer without a body, as Zappa does where the body is empty; ministack then fails. What a function logs
while it serves a WebSocket went nowhere: all that functions log is in ministack's own log now. A function that was
given other variables was killed in the middle of an event; on AWS, its processes end what they serve. A template's
table was made without its time to live, its backups and its encryption. And of what a function logs in an event, what
came a few milliseconds late was told with the next one, or never.
"""

import queue
import sys
import threading
from collections.abc import Iterable
from typing import Any

from ministack import app
from ministack.core import lambda_runtime
from ministack.services import dynamodb
from ministack.services.cloudformation import provisioners

END = "\x1eend of the event"  # the last line of each that a function logs
LOG_SECONDS = 5  # for what was logged before, which is in the pipe already

_send_response = app._send_response
_invoke = lambda_runtime.Worker.invoke
_kill_workers = lambda_runtime.kill_workers
_table = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
_create_table = _table["create"]


async def send_response(send: Any, status: int, headers: Any, body: Any, **options: Any) -> None:
    await _send_response(send, status, headers, b"" if body is None else body, **options)


def invoke(worker: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
    result: dict[str, Any] = _invoke(worker, *arguments, **options)
    for line in result.get("log", "").splitlines():
        print(f"function: {line}", file=sys.stderr, flush=True)
    return result


def kill_workers(workers: Iterable[Any]) -> None:
    for worker in workers:
        # Never waited for here: the event may itself need ministack to answer, which may be what calls this.
        threading.Thread(target=_kill_when_idle, args=[worker], daemon=True).start()


def _kill_when_idle(worker: Any) -> None:
    with worker._lock:  # held while an event is served
        _kill_workers([worker])


def logged(worker: Any, *_arguments: Any, **_options: Any) -> str:
    """All that a function has said up to the end of the event, or to its own."""
    lines: list[str] = []
    try:
        while (line := worker._stderr_queue.get(timeout=LOG_SECONDS)) != END:
            lines.append(line)
    except queue.Empty:
        pass  # it died in the middle
    return "\n".join(lines)


def marked(script: str) -> str:
    """The program of a function's process, which says where an event ends."""
    last = "        _real_stdout.flush()\n\nrun()"
    assert script.count(last) == 1
    return script.replace(last, f"        print({END!r}, file=sys.stderr, flush=True)\n{last}")


def create_table(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
    created = _create_table(logical_id, properties, stack)
    name = {"TableName": created[0]}
    dynamodb._update_ttl(name | {"TimeToLiveSpecification": properties["TimeToLiveSpecification"]})
    backups = properties["PointInTimeRecoverySpecification"]
    dynamodb._update_continuous_backups(name | {"PointInTimeRecoverySpecification": backups})
    encrypted = properties["SSESpecification"]["SSEEnabled"]  # the template's word for what the API calls Enabled
    dynamodb._update_table(name | {"SSESpecification": {"Enabled": encrypted}})
    return created


app._send_response = send_response
lambda_runtime.Worker.invoke = invoke
lambda_runtime.Worker._drain_stderr_bounded = logged
lambda_runtime._PYTHON_WORKER_SCRIPT = marked(lambda_runtime._PYTHON_WORKER_SCRIPT)
lambda_runtime.kill_workers = kill_workers
_table["create"] = create_table

if __name__ == "__main__":
    app.main()
