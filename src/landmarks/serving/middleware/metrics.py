"""What a service counts, in the text form of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of `Metrics.text`."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters of one service, in a registry of its own.

    Args:
        waiting: Tells how many pictures wait for a worker.
        inside: Tells how many pictures are in the service.
        ready: Tells how many workers are ready.
    """

    def __init__(
        self, *, waiting: Callable[[], float], inside: Callable[[], float], ready: Callable[[], float]
    ) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "landmarks_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "landmarks_request_seconds",
            "Time of a request, from its head to the end of the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._pictures = Counter(
            "landmarks_pictures",
            "Pictures by outcome: tagged, unknown, or the code of an error.",
            ["outcome"],
            registry=registry,
        )
        self._work_seconds = Histogram(
            "landmarks_work_seconds",
            "Time of a worker for a picture.",
            ["step"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._replaced = Counter("landmarks_workers_replaced", "Workers replaced.", ["reason"], registry=registry)
        self._refused = Counter(
            "landmarks_connections_refused",
            "Connections ended without a request, by the code of the error.",
            ["code"],
            registry=registry,
        )
        for name, text, value in (
            ("landmarks_pictures_waiting", "Pictures that wait for a worker.", waiting),
            ("landmarks_pictures_inside", "Pictures in the service.", inside),
            ("landmarks_workers_ready", "Workers that are ready.", ready),
        ):
            Gauge(name, text, registry=registry).set_function(value)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the path of the route, never one that a client made up."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def picture(self, outcome: str, seconds: Mapping[str, float] | None = None) -> None:
        """Count a picture, and the seconds of each step of the work on it."""
        self._pictures.labels(outcome).inc()
        for step, value in (seconds or {}).items():
            self._work_seconds.labels(step).observe(value)

    def replaced(self, reason: str) -> None:
        """Count a worker that was replaced."""
        self._replaced.labels(reason).inc()

    def refused(self, code: str) -> None:
        """Count a connection that was ended without a request."""
        self._refused.labels(code).inc()

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self._registry)
