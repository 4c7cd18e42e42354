"""The web application of an open library, and its server."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from landmarks.errors import InputError, LandmarksError
from landmarks.serving.album.incoming.access import Door
from landmarks.serving.album.opened import Opened
from landmarks.serving.album.routes import Events, album_routes
from landmarks.serving.album.settings import AlbumSettings
from landmarks.serving.errors import Code, RequestError, error_response
from landmarks.serving.listening import ending_in_order
from landmarks.serving.middleware.failsafe import Failsafe
from landmarks.serving.middleware.security import SecurityHeaders

_ANY = ("0.0.0.0", "::")  # noqa: S104 - to tell whether others are let in
_STOP_SECONDS = 2

_log = logging.getLogger(__name__)


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
            Middleware(Failsafe, problem=_problem),
            Middleware(Door, sessions=opened.sessions, cookie=opened.cookie, host=host),
        ],
        exception_handlers={HTTPException: _refused},
    )
    app.router.redirect_slashes = False  # to absolute addresses, with the scheme of this end of a proxy
    app.state.events = events
    return app


def serve(settings: AlbumSettings, host: str, listener: socket.socket, token: str) -> None:
    """Serve a library until SIGTERM, SIGINT or SIGHUP.

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
    capture_signals = ending_in_order

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


def _problem(error: Exception, _scope: Scope) -> RequestError:
    """Return what a client is told of an error; an unexpected one goes to the log."""
    if isinstance(error, RequestError):
        return error
    if not isinstance(error, LandmarksError):
        _log.error("a request failed", exc_info=error)
        return RequestError("internal", "landmarks open failed here; its terminal shows the error")
    code: Code = "invalid_parameter" if isinstance(error, InputError) else "unavailable"
    text = getattr(error, "reason", None) or str(error)  # with the name of a file, which need not be UTF-8
    return RequestError(code, text.encode("utf-8", "backslashreplace").decode())


def _refused(_request: Request, error: Exception) -> Response:
    """Return the response for a request without a route."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        return error_response(RequestError("method_not_allowed", "this address does not take that method"))
    return error_response(RequestError("not_found", "there is nothing at this address"))
