"""Hostile clients of an HTTP service, of every kind that is known to have stalled one."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from load import HOST

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_CHUNKED = b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
_TAGS, _ENDLESS = b"POST /v1/tags HTTP/1.1\r\n", b"10000\r\n" + b"x" * 2**16 + b"\r\n"
ATTACKS: dict[str, tuple[bytes, bytes]] = {
    "an endless head": (b"GET / HTTP/1.1\r\nX-Long: ", b"x" * 2**18),
    "heads of 5,000 lines": (b"", b"GET /none HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 5000 + b"\r\n"),
    "a body in tiny chunks": (_TAGS + _CHUNKED, b"1\r\nx\r\n" * 5000),
    "an endless body": (_TAGS + _CHUNKED, _ENDLESS),
    "an endless body that nobody reads": (b"PUT / HTTP/1.1\r\n" + _CHUNKED, _ENDLESS),
    "a stalled upload": (_TAGS + b"Host: localhost\r\nContent-Length: 99999\r\n\r\nxyz", b""),
    "many requests at once": (b"", b"GET /v1/landmarks HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500),
    "requests of 2,000 parameters": (
        b"",
        b"GET /healthz?" + b"a=b&" * 2000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    "no HTTP": (b"no request at all\r\n\r\n", b""),
    "connections without a request": (b"", b""),
}
"""Kinds of hostile clients: what they begin with, and what they send after that, again and again."""
_PATIENCE = 2.0
"""Seconds after which a client that the service no longer reads from begins again."""


async def connect(port: int, number: int) -> Streams:
    """Connect to a service of this machine from 127.0.0.`number`."""
    return await asyncio.open_connection(HOST, port, local_addr=(f"127.0.0.{number}", 0))


def attack_for_ever(port: int, start: bytes, piece: bytes) -> None:
    """Attack a service on four connections at a time, each again as soon as it is closed.

    Run it in a process of its own: what it computes then takes nothing from those who measure.

    Args:
        port: Port of the service.
        start: First bytes on each connection.
        piece: Bytes that follow for ever; none, if empty. With neither, each connection is closed at once.
    """

    async def again() -> None:
        while True:
            with suppress(OSError, EOFError):
                reader, writer = await connect(port, 30)
                try:
                    writer.write(start)
                    while piece:
                        writer.write(piece)
                        await asyncio.wait_for(writer.drain(), _PATIENCE)
                    if start:
                        await reader.read()
                finally:
                    writer.transport.abort()

    async def together() -> None:
        await asyncio.gather(*(again() for _ in range(4)))

    asyncio.run(together())
