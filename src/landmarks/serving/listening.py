"""The socket on which a service listens, and how signals end it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from landmarks.errors import SettingsError
from landmarks.files.ending import on_ending

if TYPE_CHECKING:
    from uvicorn import Server

_LAST_PORT = 65535


def listen(host: str, port: int, *, backlog: int = 128, or_free: bool = False) -> socket.socket:
    """Return a listening socket: from now on connections wait until they are accepted.

    Args:
        host: Address to listen on.
        port: Port; 0 for a free one.
        backlog: Most connections that wait.
        or_free: Take a free port if this one is taken.

    Raises:
        SettingsError: Nothing can listen on this address.
    """
    if not host:  # the system would listen on all addresses
        raise SettingsError("`host` must be an address: 127.0.0.1, or 0.0.0.0 to let other machines in")
    if not 0 <= port <= _LAST_PORT:
        raise SettingsError(f"`port` must be from 0 to {_LAST_PORT}, not {port}")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            if not or_free:
                raise
            listener.bind((host, 0))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"`host` {host} `port` {port}: {reason}: choose another address or port") from error
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    """Return the URL of a service that listens on a host."""
    number = listener.getsockname()[1]
    return f"http://[{host}]:{number}" if ":" in host else f"http://{host}:{number}"


@contextmanager
def ending_in_order(server: Server) -> Iterator[None]:
    """As `capture_signals` of a uvicorn server: end it at these signals; uvicorn's own raises them once more."""
    with on_ending(server.handle_exit):
        yield
