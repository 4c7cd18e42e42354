"""The metrics of a service, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from landmarks.serving.middleware.telemetry import Telemetry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of `Metrics.text`."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one service, in a separate registry.

    Args:
        waiting: Returns how many images are waiting for a worker.
        inside: Returns how many images are in the service.
        ready: Returns how many workers are ready.

    Attributes:
        telemetry: Receives the same events, or None.
    """

    def __init__(
        self, *, waiting: Callable[[], float], inside: Callable[[], float], ready: Callable[[], float]
    ) -> None:
        self.telemetry: Telemetry | None = None
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "landmarks_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "landmarks_request_seconds",
            "Time of a request, from its headers to the end of the response.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._pictures = Counter(
            "landmarks_pictures",
            "Images by outcome: tagged, unknown, or an error code.",
            ["outcome"],
            registry=registry,
        )
        self._work_seconds = Histogram(
            "landmarks_work_seconds",
            "Worker time per image.",
            ["step"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._replaced = Counter("landmarks_workers_replaced", "Workers replaced.", ["reason"], registry=registry)
        self._refused = Counter(
            "landmarks_connections_refused",
            "Connections closed without a request, by error code.",
            ["code"],
            registry=registry,
        )
        self._by_key = Counter(
            "landmarks_key_pictures", "Images by the name of the API key.", ["key"], registry=registry
        )
        self._reloads = Counter(
            "landmarks_model_reloads", "Models reloaded: done or failed.", ["outcome"], registry=registry
        )
        for name, text, value in (
            ("landmarks_pictures_waiting", "Images waiting for a worker.", waiting),
            ("landmarks_pictures_inside", "Images in the service.", inside),
            ("landmarks_workers_ready", "Workers ready.", ready),
        ):
            self.gauge(name, text, value)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge with the value that a function returns."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the path of a known route, never one made up by a client."""
        if self.telemetry is not None:
            self.telemetry.request(method, route, status, seconds)
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def picture(self, outcome: str, seconds: Mapping[str, float] | None = None) -> None:
        """Count an image, and the seconds of each processing step."""
        if self.telemetry is not None:
            self.telemetry.picture(outcome, seconds or {})
        self._pictures.labels(outcome).inc()
        for step, value in (seconds or {}).items():
            self._work_seconds.labels(step).observe(value)

    def by_key(self, key: str, count: int) -> None:
        """Count the images that came with a key; `key` is its name, from the file of keys."""
        self._by_key.labels(key).inc(count)

    def replaced(self, reason: str) -> None:
        """Count a worker that was replaced."""
        self._replaced.labels(reason).inc()

    def reloaded(self, outcome: str) -> None:
        """Count a model whose folder has changed: `done` or `failed`."""
        self._reloads.labels(outcome).inc()

    def refused(self, code: str) -> None:
        """Count a connection that was closed without a request."""
        self._refused.labels(code).inc()

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
