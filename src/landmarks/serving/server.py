"""The server process: listens, serves, and shuts down gracefully."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from landmarks.errors import ModelError
from landmarks.serving.app import create_app
from landmarks.serving.listening import ending_in_order, listen, url_of
from landmarks.serving.look_alikes import Searcher
from landmarks.serving.middleware.clients import Clients
from landmarks.serving.middleware.connections import BoundedProtocol
from landmarks.serving.middleware.intake import STOP_SECONDS
from landmarks.serving.middleware.logs import log_as_json
from landmarks.serving.settings import ServeSettings

if TYPE_CHECKING:
    from landmarks.serving.middleware.telemetry import Telemetry

_BACKLOG = 2048
_log = logging.getLogger("landmarks.serving")


def run(
    settings: ServeSettings,
    host: str,
    port: int,
    *,
    searcher: Searcher | None = None,
    telemetry: Telemetry | None = None,
    started: Callable[[str], None] = lambda _address: None,
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; accepted requests are finished.

    Args:
        settings: Settings of the service.
        host: Address to listen on.
        port: Port; 0 for a free one.
        searcher: Search backend of `/v1/search`, or None.
        telemetry: OpenTelemetry, or None; it is closed in the end.
        started: Called with the URL once images are accepted.

    Raises:
        SettingsError: The service cannot listen on this address.
        ModelError: The model cannot be loaded.
        PlacesError: A table of places is broken.
    """
    with listen(host, port, backlog=_BACKLOG) as listener:  # first: what fails here fails at once
        app = create_app(settings, searcher, telemetry)
        log_as_json()
        clients = Clients(settings.connections, settings.access.proxies)
        protocol = partial(BoundedProtocol, clients=clients, refused=app.state.service.metrics.refused)
        config = uvicorn.Config(
            app,
            http=protocol,  # type: ignore[arg-type]  # it is called like a class
            ws="none",
            # uvloop forks to start a program, which threads of LanceDB or OpenTelemetry do not survive.
            loop="auto" if searcher is None and telemetry is None else "asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(settings.limits.request_seconds + STOP_SECONDS) + 1,
        )
        address = url_of(listener, host)
        server = _Server(config, lambda: started(address), app.state.stopping.begin)
        try:
            with suppress(SystemExit):  # of uvicorn, if the service could not start
                server.run(sockets=[listener])
        finally:
            if telemetry is not None:
                telemetry.close()
    if not server.started:
        raise getattr(app.state, "failure", None) or ModelError(
            f"{settings.model}: the service could not start: see its log"
        )
    _log.info("stopped")


class _Server(uvicorn.Server):
    """A server that reports when it has started, and serves its backlog before it stops."""

    capture_signals = ending_in_order

    def __init__(self, config: uvicorn.Config, told: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._told = told
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then report that the service has started."""
        await super().startup(sockets)
        if self.started:
            # What is there now stays until the end: each full garbage collection need not look through it again.
            gc.collect()
            gc.freeze()
            self._told()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve the backlog, then shut down."""
        self._stopping()
        for listener in sockets or ():
            await self._empty(listener)
        await super().shutdown(sockets)

    async def _empty(self, listener: socket.socket) -> None:
        """Accept the connections in the backlog: closing the listener would reset them."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        for _ in range(_BACKLOG):
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol
