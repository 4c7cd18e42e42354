"""The server process: listens, serves, and shuts down gracefully."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from landmarks.errors import ModelError
from landmarks.serving.app import create_app
from landmarks.serving.listening import ending_in_order, listen, url_of
from landmarks.serving.look_alikes import Searcher
from landmarks.serving.middleware.clients import Account, Clients
from landmarks.serving.middleware.connections import BoundedProtocol
from landmarks.serving.middleware.intake import STOP_SECONDS
from landmarks.serving.middleware.logs import log_as_json
from landmarks.serving.settings import ServeSettings

if TYPE_CHECKING:
    from landmarks.serving.middleware.telemetry import Telemetry

_BACKLOG = 2048
_ACCEPTED_AT_ONCE = 64
"""Connections that are accepted before others who are connected have their turn."""
_FLOOD_SECONDS = 0.005
"""How long connections gather while a client opens too many: waking up for each costs more than refusing it."""
_NO_MORE_SECONDS = 0.1
"""How long nothing is accepted where the system gives no more connections."""
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
        log_as_json()  # before there is anything to say
        app = create_app(settings, searcher, telemetry)
        clients = Clients(settings.connections, settings.access.proxies)
        refused = app.state.service.metrics.refused
        config = uvicorn.Config(
            app,
            http=partial(BoundedProtocol, clients=clients, refused=refused),  # type: ignore[arg-type]  # as a class
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
        server = Server(config, clients, refused, lambda: started(address), app.state.stopping.begin)
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


class Server(uvicorn.Server):
    """A server that accepts connections fairly, reports when it has started, and serves its backlog at the end."""

    capture_signals = ending_in_order

    def __init__(
        self,
        config: uvicorn.Config,
        clients: Clients,
        refused: Callable[[str], None],
        told: Callable[[], None],
        stopping: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._clients = clients
        self._refused = refused
        self._told = told
        self._stopping = stopping
        self._accepting: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._held: dict[socket.socket, tuple[Account, asyncio.TimerHandle]] = {}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then report that the service has started."""
        await super().startup([])  # which listens on nothing
        if self.started:
            for listener in sockets or ():
                listener.setblocking(False)
                self._accepting.append(self._begin(self._accept(listener)))
            # What is there now stays until the end: each full garbage collection need not look through it again.
            gc.collect()
            gc.freeze()
            self._told()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve the backlog, then shut down."""
        self._stopping()
        for accepting in self._accepting:
            accepting.cancel()
        while self._held:  # the turn of others may come meanwhile
            connection, (account, timer) = self._held.popitem()
            timer.cancel()
            await self._open(connection, account)
        for listener in sockets or ():
            for connection, address in _waiting(listener, _BACKLOG):  # closing the listener would reset them
                await self._open(connection, self._clients.enter(address[0])[0])
        await super().shutdown(sockets)

    async def _accept(self, listener: socket.socket) -> None:
        """Accept connections for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                first = await loop.sock_accept(listener)
            except ConnectionError:  # gone again
                continue
            except OSError:  # too many open files
                await asyncio.sleep(_NO_MORE_SECONDS)
                continue
            taken = [self._take(*each) for each in (first, *_waiting(listener, _ACCEPTED_AT_ONCE - 1))]
            await asyncio.sleep(0.0 if all(taken) else _FLOOD_SECONDS)

    def _take(self, connection: socket.socket, address: tuple[Any, ...]) -> bool:
        """Open a connection at its client's turn; return False if the client has too many that wait for theirs."""
        account, wait = self._clients.enter(address[0])
        if not wait:
            self._begin(self._open(connection, account))
        elif account is None:
            connection.close()
            self._refused("too_many_connections")
            return False
        else:
            timer = asyncio.get_running_loop().call_later(wait, self._release, connection)
            self._held[connection] = account, timer
        return True

    def _release(self, connection: socket.socket) -> None:
        account, _ = self._held.pop(connection)
        self._begin(self._open(connection, account))

    async def _open(self, connection: socket.socket, account: Account | None) -> None:
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(partial(self._protocol, account), connection)
        except OSError:  # gone again
            connection.close()
            if account is not None:
                self._clients.leave(account)

    def _protocol(self, account: Account | None) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            account=account, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the event loop itself keeps no task alive
        task.add_done_callback(self._tasks.discard)
        return task


def _waiting(listener: socket.socket, most: int) -> Iterator[tuple[socket.socket, tuple[Any, ...]]]:
    """Accept the connections that wait in the backlog."""
    for _ in range(most):
        try:
            yield listener.accept()
        except OSError:  # no more
            return
