"""OpenTelemetry: what a request leaves in traces and metrics, and that nothing of it is imported unasked."""

from __future__ import annotations

import ast
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from stub_pool import StubPool, use_stub
from tiny_model import make_model

from landmarks.serving.app import create_app
from landmarks.serving.settings import ServeSettings

pytest.importorskip("opentelemetry.exporter.otlp", reason="the extra otel is not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from landmarks.serving.middleware.telemetry import Telemetry, start

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_stub(monkeypatch)
    answer = StubPool.answer

    async def timed(pool: StubPool, picture: bytes, *also: Any, **options: Any) -> dict[str, Any]:
        return await answer(pool, picture, *also, **options) | {"seconds": {"decode": 0.01, "recognise": 0.02}}

    monkeypatch.setattr(StubPool, "answer", timed)
    return make_model(tmp_path / "colours")


def test_a_request_continues_the_trace_of_its_caller(model: Path) -> None:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    telemetry = Telemetry(traces, MeterProvider([reader]))
    with TestClient(create_app(ServeSettings(model, workers=1), telemetry=telemetry)) as client:
        caller = {"traceparent": f"00-{TRACE}-{SPAN}-01", "content-type": "image/png", "x-request-id": "trip-7"}
        assert client.post("/v1/tags", content=b"x", headers=caller).status_code == 200
        client.get("/none/such")
        for method in ("MADE", "UP"):
            client.request(method, "/healthz")
    decode, recognise, tags, other, made_up, _ = spans.get_finished_spans()
    assert (tags.name, f"{tags.context.trace_id:x}".zfill(32), f"{tags.parent.span_id:x}") == (
        "POST /v1/tags",
        TRACE,
        SPAN,
    )
    assert tags.attributes["http.response.status_code"] == 200
    assert tags.attributes["landmarks.request_id"] == "trip-7"
    for step, name, seconds in ((decode, "decode", 0.01), (recognise, "recognise", 0.02)):
        assert (step.name, step.parent.span_id) == (name, tags.context.span_id)
        assert step.end_time - step.start_time == pytest.approx(seconds * 1e9, rel=0.01)
    assert (other.name, made_up.name) == ("GET other", "HTTP /healthz")
    (resource,) = reader.get_metrics_data().resource_metrics
    metrics = {metric.name: metric.data.data_points for metric in resource.scope_metrics[0].metrics}
    assert [point.value for point in metrics["landmarks.images"]] == [1]
    routes = {point.attributes["http.route"] for point in metrics["http.server.request.duration"]}
    assert routes == {"/v1/tags", "other", "/healthz"}
    methods = [point.attributes["http.request.method"] for point in metrics["http.server.request.duration"]]
    assert sorted(methods) == ["GET", "POST", "_OTHER"]
    telemetry.close()


def test_an_image_of_a_job_is_counted_and_begins_no_trace() -> None:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    Telemetry(traces, MeterProvider([reader])).picture("tagged", {"decode": 0.01, "recognise": 0.02})
    assert spans.get_finished_spans() == ()
    assert "landmarks.images" in reader.get_metrics_data().to_json()


def test_a_collector_that_is_away_does_not_hold_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landmarks.serving.middleware.telemetry._CLOSE_SECONDS", 0.05)
    traces, released = TracerProvider(), threading.Event()
    monkeypatch.setattr(traces, "shutdown", lambda: released.wait(10))
    started = time.monotonic()
    Telemetry(traces, MeterProvider()).close()
    assert time.monotonic() - started < 5
    released.set()


def test_it_is_configured_by_the_usual_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "photos")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_TIMEOUT", "1")
    monkeypatch.setattr("landmarks.serving.middleware.telemetry._CLOSE_SECONDS", 0.05)
    telemetry = start()
    span = telemetry.tracer.start_span("x")
    assert span.resource.attributes["service.name"] == "photos"  # type: ignore[attr-defined]
    telemetry.close()


def test_nothing_of_it_is_imported_unasked() -> None:
    serving = Path(__file__).resolve().parents[2] / "src" / "landmarks" / "serving"
    for file in serving.rglob("*.py"):
        for node in ast.parse(
            file.read_text(encoding="utf-8")
        ).body:  # what runs at import, not `if TYPE_CHECKING`
            if file.name != "telemetry.py" and isinstance(node, ast.Import | ast.ImportFrom):
                assert "middleware.telemetry" not in ast.unparse(node), file
                assert "opentelemetry" not in ast.unparse(node), file
