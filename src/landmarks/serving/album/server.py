"""The process of a library in the browser: listens, serves, and ends."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from landmarks.errors import SettingsError
from landmarks.serving.album.app import Opened, create_app
from landmarks.serving.album.settings import AlbumSettings

PORT = 8400
"""Port if none is given and it is free."""


def run(
    settings: AlbumSettings, host: str, port: int | None, *, started: Callable[[str], None] = lambda _link: None
) -> None:
    """Serve until SIGTERM or SIGINT.

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
    listener = _listen(host, port)
    with listener:
        opened = Opened(settings, host)
        number = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104
        config = uvicorn.Config(
            create_app(opened),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        server = _Server(config, lambda: started(f"http://{shown}:{number}/?token={opened.sessions.link()}"))
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, told: Callable[[], None]) -> None:
        super().__init__(config)
        self._told = told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started:
            self._told()


def _listen(host: str, port: int | None) -> socket.socket:
    """Return a listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
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
