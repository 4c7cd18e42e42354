"""A port for a server that cannot choose one itself."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a port of this machine on which nothing listens.

    It lies below those that the system gives to outgoing connections: another test might get one of those before
    the server begins to listen.
    """
    for port in random.SystemRandom().sample(range(15_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")
