"""OpenTelemetry: a trace of each request and metrics, sent by OTLP; imported only if it is asked for.

Names and attributes are those of the semantic conventions for HTTP
(https://opentelemetry.io/docs/specs/semconv/http/). Where to send them is configured by the usual variables, such
as `OTEL_EXPORTER_OTLP_ENDPOINT`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmarks import __version__
from landmarks.serving.middleware.observability import method_of

_SCOPE = "landmarks.serving"
_FAILED = 500
_CLOSE_SECONDS = 5.0
_NANOSECONDS = 10**9


class Telemetry:
    """Traces and metrics of a service.

    Args:
        traces: Where spans go.
        meters: Where metrics go.

    Attributes:
        tracer: Makes spans.
        context: Reads the trace that a request belongs to.
    """

    def __init__(self, traces: TracerProvider, meters: MeterProvider) -> None:
        self._providers = (traces, meters)
        self.tracer = traces.get_tracer(_SCOPE, __version__)
        self.context = TraceContextTextMapPropagator()
        meter = meters.get_meter(_SCOPE, __version__)
        self._request_seconds = meter.create_histogram(
            "http.server.request.duration", "s", "Duration of HTTP server requests."
        )
        self._pictures = meter.create_counter("landmarks.images", "{image}", "Images by outcome.")

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record a request."""
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
        }
        self._request_seconds.record(seconds, attributes)

    def picture(self, outcome: str, seconds: Mapping[str, float]) -> None:
        """Record an image; the steps of its worker, which have just ended, become spans of its trace, if any."""
        self._pictures.add(1, {"outcome": outcome})
        if not get_current_span().get_span_context().is_valid:
            return  # an image of a job: each of its spans would be a trace of its own
        start = time.time_ns() - round(sum(seconds.values()) * _NANOSECONDS)
        for step, duration in seconds.items():
            end = start + round(duration * _NANOSECONDS)
            self.tracer.start_span(step, start_time=start).end(end)
            start = end

    def trace(self, app: ASGIApp) -> Trace:
        """Return an application whose requests are spans."""
        return Trace(app, self)

    def close(self) -> None:
        """Send what has not been sent yet; a collector that is away does not hold the stop for long."""
        ending = threading.Thread(target=self._shut_down, daemon=True)
        ending.start()
        ending.join(_CLOSE_SECONDS)

    def _shut_down(self) -> None:
        for provider in self._providers:
            provider.shutdown()


class Trace:
    """Makes each request a span, which continues the trace of its `traceparent` header.

    Args:
        app: The next application, which leaves the route in `scope["state"]["route"]`.
        telemetry: Traces and metrics of the service.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        state, method = scope.setdefault("state", {}), method_of(scope)
        named = "HTTP" if method == "_OTHER" else method
        parent = self._telemetry.context.extract(Headers(scope=scope))
        tracer = self._telemetry.tracer
        with tracer.start_as_current_span(named, context=parent, kind=SpanKind.SERVER) as span:
            try:
                await self._app(scope, receive, seen)
            finally:
                route = state.get("route", "other")
                span.update_name(f"{named} {route}")
                span.set_attributes({"http.request.method": method, "http.route": route})
                span.set_attribute("landmarks.request_id", state.get("request_id", ""))
                if status:
                    span.set_attribute("http.response.status_code", status)
                if status >= _FAILED:
                    span.set_status(StatusCode.ERROR)


def start() -> Telemetry:
    """Return telemetry that is sent by OTLP over HTTP, as configured by the `OTEL_` variables."""
    own = Resource({SERVICE_NAME: "landmarks", SERVICE_VERSION: __version__})
    resource = own.merge(OTELResourceDetector().detect())
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    return Telemetry(traces, MeterProvider([reader], resource=resource, shutdown_on_exit=False))
