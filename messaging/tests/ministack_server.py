"""Starts ministack, in its own environment, with two mistakes of version 1.5.33 put right.

A function may answer without a body, as Zappa does where the body is empty; ministack then fails. And what a function
logs while it serves a WebSocket went nowhere: all that functions log is in ministack's own log now.
"""

import sys
from typing import Any

from ministack import app
from ministack.core import lambda_runtime

_send_response = app._send_response
_invoke = lambda_runtime.Worker.invoke


async def send_response(send: Any, status: int, headers: Any, body: Any, **options: Any) -> None:
    await _send_response(send, status, headers, b"" if body is None else body, **options)


def invoke(worker: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
    result = _invoke(worker, *arguments, **options)
    for line in result.get("log", "").splitlines():
        print(f"function: {line}", file=sys.stderr, flush=True)
    return result


app._send_response = send_response
lambda_runtime.Worker.invoke = invoke

if __name__ == "__main__":
    app.main()
