"""Observability: an ID and a log line for each request, and the metrics."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmarks.serving.errors import RequestError
from landmarks.serving.middleware.metrics import Metrics

_log = logging.getLogger("landmarks.serving")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_JOB = re.compile(r"^/v1/jobs/[^/]+")
_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
_CLIENT_LEFT = 499  # the usual status for a client that disconnected; only in the log
_FAILED = 500


class Observe:
    """The outermost layer.

    Args:
        app: The next application.
        metrics: The metrics that count requests.
        routes: The known paths; requests for others are counted together.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Inside, addresses are compared: a prefix before them, from a proxy or a mount, must not get past the key.
        scope = {**scope, "path": scope["path"].removeprefix(scope.get("root_path", "")), "root_path": ""}
        started = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        status = 0

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        scope.setdefault("state", {})["request_id"] = request_id
        try:
            await self._app(scope, receive, with_id)
        except ClientDisconnect:
            status = status or _CLIENT_LEFT
        finally:
            seconds = time.perf_counter() - started
            # A request refused before routing counts under its route too, and no client can make up names.
            path = _JOB.sub("/v1/jobs/{job_id}", scope["path"])
            route = path if path in self._routes else "other"
            scope["state"]["route"] = route
            method = method_of(scope)
            self._metrics.request(method, route, status or _FAILED, seconds)
            quota = scope["state"].get("quota")
            _log.info(
                "request",
                extra={
                    "request_id": request_id,
                    "method": method,
                    "route": route,
                    "status": status or _FAILED,
                    "ms": round(seconds * 1000, 1),
                    **({} if quota is None else {"key": quota.key.name}),
                },
            )


def method_of(scope: Scope) -> str:
    """Return the method of a request; one that a client made up is `_OTHER`, as OpenTelemetry has it."""
    method: str = scope["method"]
    return method if method in _METHODS else "_OTHER"


def problem_of(error: Exception, scope: Scope) -> RequestError:
    """Return what a client of the service is told of an error; an unexpected one goes to the log."""
    if isinstance(error, RequestError):
        return error
    request_id = scope["state"]["request_id"]
    _log.error("a request failed", exc_info=error, extra={"request_id": request_id})
    return RequestError("internal", f"the service failed; see its log under {request_id}")
