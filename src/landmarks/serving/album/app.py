"""The web application of an open library, and its process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from landmarks.errors import InputError, LandmarksError, SettingsError
from landmarks.serving.album.access import Door
from landmarks.serving.album.opened import AlbumSettings, Opened
from landmarks.serving.album.routes import Events, album_routes
from landmarks.serving.errors import Code, RequestError, error_response
from landmarks.serving.middleware.security import SecurityHeaders

PORT = 8400
"""Port if none is given and it is free."""

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


def run(
    settings: AlbumSettings, host: str, port: int | None, *, started: Callable[[str], None] = lambda _link: None
) -> None:
    """Serve a library until SIGTERM or SIGINT.

    Args:
        settings: What is opened.
        host: Address to listen on.
        port: Port; 0 for a free one, None for the usual one or, if that is taken, a free one.
        started: Called with a link, which can be used once.

    Raises:
        InputError: The folder does not exist.
        SettingsError: Nothing can listen on this address.
        ModelError: The model folder is damaged.
    """
    with _listen(host, port) as listener:
        opened = Opened(settings)
        app = create_app(opened, host)
        number = listener.getsockname()[1]
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        address = f"http://[{name}]:{number}" if ":" in name else f"http://{name}:{number}"
        config = uvicorn.Config(
            app,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        told = lambda: started(f"{address}/?token={opened.sessions.link()}")  # noqa: E731
        _Server(config, told, app.state.events.end).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, told: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._told = told
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started:
            self._told()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams of events, which would be waited for, then shut down."""
        self._ending()
        await super().shutdown(sockets)


def _listen(host: str, port: int | None) -> socket.socket:
    """Return a listening socket."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, PORT if port is None else port))
        except OSError:
            if port is not None:
                raise
            listener.bind((host, 0))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"`host` {host} `port` {port}: {reason}: choose another address or port") from error
    return listener


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
