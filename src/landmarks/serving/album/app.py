"""The web application of an open library, and its server."""

from __future__ import annotations

import gc
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from landmarks.errors import InputError, LandmarksError
from landmarks.serving.album.access import Door
from landmarks.serving.album.opened import Opened
from landmarks.serving.album.routes import Events, album_routes
from landmarks.serving.album.settings import AlbumSettings
from landmarks.serving.errors import Code, RequestError, error_response
from landmarks.serving.middleware.security import SecurityHeaders

_ANY = ("0.0.0.0", "::")  # noqa: S104 - to tell whether others are let in
_STOP_SECONDS = 2


def create_app(opened: Opened, host: str) -> Starlette:
    """Return the application of a library; its background work runs from its start-up to its shutdown.

    Args:
        opened: The library.
        host: The address that is listened on.
    """
    events = Events(opened)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        events.begin()
        opened.start()
        try:
            yield
        finally:
            events.end()
            opened.close()

    app = Starlette(
        routes=album_routes(opened, events, lan=host in _ANY),
        lifespan=lifespan,
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(Door, sessions=opened.sessions, cookie=opened.cookie, host=host),
        ],
        exception_handlers={LandmarksError: _failed, HTTPException: _refused},
    )
    app.state.events = events
    return app


def serve(settings: AlbumSettings, host: str, listener: socket.socket, token: str) -> None:
    """Serve a library until SIGTERM or SIGINT.

    Args:
        settings: What is opened.
        host: The address that is listened on.
        listener: The listening socket.
        token: Token of a link that was told already.

    Raises:
        InputError: The folder does not exist.
        ModelError: The model folder is damaged.
    """
    opened = Opened(settings)
    opened.sessions.link(token)
    app = create_app(opened, host)
    config = uvicorn.Config(
        app,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    server = _Server(config, app.state.events.end)
    opened.failed = server.end
    server.run(sockets=[listener])
    opened.check()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; garbage collection need not look through what is there already."""
        await super().startup(sockets)
        gc.freeze()
        gc.enable()

    def end(self) -> None:
        """Shut down soon."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams of events, which would be waited for, then shut down."""
        self._ending()
        await super().shutdown(sockets)


def _failed(_request: Request, error: Exception) -> Response:
    """Return the response for an error of the package."""
    if isinstance(error, RequestError):
        return error_response(error)
    code: Code = "invalid_parameter" if isinstance(error, InputError) else "unavailable"
    return error_response(RequestError(code, getattr(error, "reason", None) or str(error)))


def _refused(_request: Request, error: Exception) -> Response:
    """Return the response for a request without a route."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        return error_response(RequestError("method_not_allowed", "this address does not take that method"))
    return error_response(RequestError("not_found", "there is nothing at this address"))
