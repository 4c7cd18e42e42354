"""Builds the application from routes and middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from landmarks import __version__
from landmarks.errors import LandmarksError
from landmarks.serving.errors import ANNOTATE_PATH, Code, RequestError, error_response
from landmarks.serving.jobs.routes import JobPhoto, jobs_router
from landmarks.serving.jobs.runner import JobRunner
from landmarks.serving.look_alikes import Searcher
from landmarks.serving.middleware.failsafe import Failsafe
from landmarks.serving.middleware.intake import Intake, Stopping
from landmarks.serving.middleware.keys import KeyRing
from landmarks.serving.middleware.metrics import CONTENT_TYPE
from landmarks.serving.middleware.observability import Observe, problem_of
from landmarks.serving.middleware.security import PROTECTED, Cors, Gate, SecurityHeaders
from landmarks.serving.page import page_files
from landmarks.serving.routes import errors, v1_router
from landmarks.serving.schemas import Photo, Status, TagsResponse
from landmarks.serving.service import Service
from landmarks.serving.settings import ServeSettings

if TYPE_CHECKING:
    from landmarks.serving.middleware.telemetry import Telemetry

_DESCRIPTION = (
    "Names the landmark in a photo: the landmark with its probability, else its city, country or kind, else "
    "nothing. Images are analysed and not stored: they are never written to disk, and URLs are never fetched. "
    "Only the images of a job are kept until they are analysed."
)
# FastAPI's own, which variables of the environment could turn on; see `middleware.telemetry` for ours.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
_HTTP_CODES: dict[int, Code] = {404: "not_found", 405: "method_not_allowed"}
_HTTP_TEXTS: dict[int, str] = {
    404: "there is nothing at this address: see /openapi.json",
    405: "this address does not take that method: see /openapi.json",
}


_KEY: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""Where requests have the API key, for OpenAPI."""


class _Api(FastAPI):
    """The application, with what FastAPI cannot know in its description, such as where the API key is sent."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which is made once."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        document["components"]["securitySchemes"] = _KEY
        document["paths"][ANNOTATE_PATH]["post"]["responses"].pop("422", None)  # as with Google, it is a 400
        schemas = document["components"]["schemas"]
        for model in (Photo, TagsResponse, JobPhoto):  # FastAPI takes the nulls out of examples: they are required
            if model.__name__ in schemas:
                schemas[model.__name__]["examples"] = model.model_json_schema()["examples"]
        ways: list[dict[str, list[str]]] = [{name: []} for name in _KEY]
        for path, operations in document["paths"].items():
            for operation in operations.values() if path.startswith(PROTECTED) else ():
                operation["security"] = [*ways, {}] if self.state.keys.open else ways
        return document


def create_app(
    settings: ServeSettings, searcher: Searcher | None = None, telemetry: Telemetry | None = None
) -> FastAPI:
    """Return the application; its workers run from its start-up to its shutdown.

    Args:
        settings: Settings of the service.
        searcher: Search backend of `/v1/search`; without one, the route is left out.
        telemetry: OpenTelemetry; see `landmarks.serving.middleware.telemetry.start`.

    Raises:
        ModelError: The model folder is damaged.
        PlacesError: A table of places is broken.
        SettingsError: The file of API keys or of jobs cannot be used.
    """
    service = Service(settings, pinned=searcher is not None)

    jobs = None if settings.jobs.path is None else JobRunner(service, settings.jobs)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """Start what serves requests, and stop it at the end."""
        try:
            await service.catalog.open()
        except LandmarksError as error:
            app.state.failure = error  # a server only logs it
            raise
        if jobs is not None:
            await jobs.open()
        try:
            yield
        finally:
            if jobs is not None:
                await jobs.close()
            await service.catalog.close()

    app = _Api(
        title="landmarks",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,  # to an address that is wrong behind a proxy with TLS
        docs_url=None,  # its page loads third-party scripts
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
        generate_unique_id_function=lambda route: route.name,  # the names of the functions in generated clients
    )
    app.state.service = service
    app.state.stopping = stopping = Stopping()
    paths = {"/openapi.json"}
    routers = [v1_router(service, searcher), _operations(service, stopping), _pages()]
    if jobs is not None:
        routers.append(jobs_router(service, jobs, settings.jobs))
        service.metrics.gauge("landmarks_job_pictures", "Images of jobs without a result.", lambda: jobs.pending)
    for router in routers:
        app.include_router(router)
        paths.update(route.path for route in router.routes if isinstance(route, APIRoute))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    _wrap(app, settings, frozenset(paths), telemetry)
    return app


def _wrap(app: FastAPI, settings: ServeSettings, paths: frozenset[str], telemetry: Telemetry | None) -> None:
    """Add the middleware around every request."""
    service: Service = app.state.service
    # The last middleware added is the outermost.
    app.add_middleware(Intake, admission=service.admission, limits=settings.limits, stopping=app.state.stopping)
    app.state.keys = keys = KeyRing(settings.access, service.metrics.by_key)
    app.add_middleware(Gate, access=settings.access, keys=keys)
    app.add_middleware(Failsafe, problem=problem_of)
    if settings.access.origins:
        app.add_middleware(Cors, origins=settings.access.origins)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observe, metrics=service.metrics, routes=paths)
    if telemetry is not None:
        service.metrics.telemetry = telemetry
        app.add_middleware(telemetry.trace)


def _pages() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for path, file in page_files():
        router.add_api_route(path, file)
    return router


def _operations(service: Service, stopping: Stopping) -> APIRouter:
    """Return the routes for operating the service."""
    router = APIRouter()

    @router.get("/healthz", summary="Liveness")
    async def healthz() -> Status:
        """Return 200 while the process is running."""
        return Status(status="ok")

    @router.get(
        "/readyz",
        summary="Readiness: whether images are accepted",
        response_model=Status,
        responses={503: {"model": Status, "description": "No worker is ready."}},
    )
    async def readyz() -> Response:
        """Return 200 if images are accepted now, else 503."""
        ready = service.catalog.ready and not stopping.begun
        return JSONResponse({"status": "ok" if ready else "starting"}, 200 if ready else 503)

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Counters."},
            **errors(401, 403),
        },
    )
    async def metrics() -> Response:
        """Return the metrics in the Prometheus text format."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return router


def _invalid(request: Request, error: Exception) -> Response:
    """Return the error response for wrong parameters or JSON."""
    found = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    where = ".".join(str(part) for part in found.get("loc", ()))
    return error_response(
        RequestError("invalid_parameter", f"{where}: {found.get('msg', 'invalid')}"), path=request.url.path
    )


def _refused(request: Request, error: Exception) -> Response:
    """Return the error response for a request without a route."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    code = _HTTP_CODES.get(status, "bad_request")
    text = _HTTP_TEXTS.get(status, "the request cannot be read")
    headers = getattr(error, "headers", None)
    return error_response(RequestError(code, text), headers, path=request.url.path)
