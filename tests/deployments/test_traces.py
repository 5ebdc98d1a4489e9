"""Traces: the spans of one message in two processes form one trace at the collector."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.connections import admin, new_id, visitor
from tests.support.deployments import Deployment, Kubernetes, fetch
from tests.support.paths import ROOT
from tests.support.redis_services import Redis
from tests.support.services import HOST
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

CONTENT = f"canary-{new_id()}"


class Collector:
    """A receiver of OTLP over HTTP, like the OpenTelemetry Collector. `spans` has each span with its service's name."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}"
        self.spans: list[tuple[str, Any]] = []
        self.bodies: list[bytes] = []

    def take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(named["service.name"], span) for span in scope.spans]

    def named(self, name: str) -> list[tuple[str, Any]]:
        return [(service, span) for service, span in self.spans if span.name == name]


@contextmanager
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.take(decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Log nothing to standard error."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    taken = Collector(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def traced(kubernetes: Kubernetes, redis_server: Redis) -> Iterator[tuple[Deployment, Collector]]:
    with collector() as taken:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": taken.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        # The limiter asks Redis for each message, so the wait for Redis is part of the message's trace.
        variables["RATE_LIMIT_VISITOR"] = "1000/0.001"
        with kubernetes.deployed(redis_server.url, variables) as deployment:
            here, there = deployment.servers
            for server, name in ((here, "here"), (there, "there")):
                server.end(server.stop_signal)
                server.environment["OTEL_SERVICE_NAME"] = name
                server.start()
            yield deployment, taken


async def test_one_trace_goes_from_the_visitors_frame_to_the_delivery_in_another_process(
    traced: tuple[Deployment, Collector],
) -> None:
    deployment, taken = traced
    here, there = deployment.websocket_urls
    async with visitor(here) as page, admin(there, await deployment.admin_token()) as operator:
        await page.say(CONTENT)
        assert (await operator.receive())["content"] == CONTENT
        await page.request("ping", id=new_id())
        await eventually(lambda: bool(taken.named("messaging deliver")), "the delivery is told")
        await eventually(lambda: bool(taken.named("messaging send")), "the message is told")
    ((sender, send),) = taken.named("messaging send")
    elsewhere = [span for service, span in taken.named("messaging deliver") if service == "there"]
    assert (sender, len(elsewhere)) == ("here", 1)
    assert (elsewhere[0].trace_id, elsewhere[0].parent_span_id) == (send.trace_id, send.span_id)
    in_redis = [span for service, span in taken.spans if span.trace_id == send.trace_id and service == "here"]
    assert len(in_redis) > 1
    roots = {span.name for _, span in taken.spans if not span.parent_span_id}
    assert {name for name in roots if "/" not in name} == {
        "messaging send"
    }  # neither a ping nor work without a request has a root span
    assert [body for body in taken.bodies if CONTENT.encode() in body] == []


async def test_a_request_is_one_span(traced: tuple[Deployment, Collector]) -> None:
    deployment, taken = traced
    path = f"/nothing-{new_id()}"
    await asyncio.to_thread(fetch, deployment.servers[0].origin + path)
    await eventually(lambda: any(span.kind == span.SPAN_KIND_SERVER for _, span in taken.spans), "it is told")
    assert [span.kind for _, span in taken.spans if span.kind != span.SPAN_KIND_CLIENT] == [2]


def test_without_a_collector_nothing_of_it_is_imported(tmp_path: Any) -> None:
    code = (
        "import sys, messaging_site.asgi; from messaging.runtime import runtime; runtime.service;"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"VAR_DIR": str(tmp_path)}, capture_output=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
