"""Spans for OpenTelemetry, sent as OTLP over HTTP. Loaded only if OTEL_EXPORTER_OTLP_ENDPOINT is set.

The SDK reads its own OTEL_… variables: endpoint and headers, the sampler, the batches, attributes of the process.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from messaging.observability.context import bind
from messaging.observability.tracer import Tracer

MESSAGE = "sendMessage"  # frames that contain this word are traced; another frame that mentions it costs a span
FLUSH_MS = 1_000  # how long the end of a Lambda invocation may wait for the collector
_W3C = TraceContextTextMapPropagator()
INSTRUMENTORS = {"redis": "RedisInstrumentor", "botocore": "BotocoreInstrumentor"}


class _NoOrphans(Sampler):
    """A sampler like `sampler`, but without backend calls outside any trace: subscriptions, heartbeats, leases."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[trace.Link] | None = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        if kind is SpanKind.CLIENT and not parent.is_valid:
            return SamplingResult(Decision.DROP)
        return self._sampler.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        return f"NoOrphans({self._sampler.get_description()})"


class OpenTelemetryTracer(Tracer):
    """A tracer that sends its spans to an OTLP collector.

    `service` and `version` identify this process, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES do. `client`:
    the client library of the backends, a key of INSTRUMENTORS; calls that a message waits for become spans.
    """

    def __init__(self, *, service: str, version: str, client: str = "") -> None:
        attributes = {SERVICE_NAME: f"messaging-{service}", SERVICE_VERSION: version}
        attributes |= {name: str(value) for name, value in OTELResourceDetector().detect().attributes.items()}
        self._provider = TracerProvider(resource=Resource.create(attributes))
        self._provider.sampler = _NoOrphans(self._provider.sampler)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("messaging", version)
        if client:
            module = import_module(f"opentelemetry.instrumentation.{client}")
            getattr(module, INSTRUMENTORS[client])().instrument(tracer_provider=self._provider)

    @contextmanager
    def served(self, frame: str | bytes) -> Iterator[None]:
        if not isinstance(frame, str) or MESSAGE not in frame:
            yield
            return
        # Each message has a trace of its own: a connection lives for hours, and may send thousands of messages.
        with self._tracer.start_as_current_span("messaging send", Context(), SpanKind.SERVER) as span:
            bind(trace=trace.format_trace_id(span.get_span_context().trace_id))
            try:
                yield
            finally:
                bind(trace=None)

    def trace(self) -> str:
        if not trace.get_current_span().is_recording():
            return ""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent", "")

    @contextmanager
    def delivered(self, trace: str, receivers: int) -> Iterator[None]:
        if not trace:
            yield
            return
        parent = _W3C.extract({"traceparent": trace}, Context())
        attributes = {"messaging.receivers": receivers}
        with self._tracer.start_as_current_span("messaging deliver", parent, SpanKind.CONSUMER, attributes):
            yield

    def http(self, application: Any) -> Any:
        # With `receive` and `send` there would be a span for each part of a body.
        return OpenTelemetryMiddleware(application, tracer_provider=self._provider, exclude_spans=["receive", "send"])

    def flush(self) -> None:
        self._provider.force_flush(FLUSH_MS)

    def close(self) -> None:
        self._provider.shutdown()
