"""Load for services on this machine: each client has one connection and sends a request after each response.

The client implements just enough HTTP/1.1 to take little of the processor that it shares with the service.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"


@dataclass
class Load:
    """Results of the clients: seconds of responses with status 200, and counts by status (0: no response)."""

    wall: float = 0.0
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Responses with status 200 per second."""
        return len(self.seconds) / self.wall

    def quantile(self, share: float) -> float:
        """Seconds within which a fraction of the responses arrived."""
        return statistics.quantiles(self.seconds, n=1000, method="inclusive")[round(share * 1000) - 1]


def multipart(pictures: Sequence[bytes], path: str = "/v1/tags") -> bytes:
    """A POST with images as files of a form."""
    parts = [
        b'--frontier\r\nContent-Disposition: form-data; name="photos"; filename="p.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + picture + b"\r\n"
        for picture in pictures
    ]
    return post(path, "multipart/form-data; boundary=frontier", b"".join(parts) + b"--frontier--\r\n")


def post(path: str, kind: str, body: bytes) -> bytes:
    """A POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def get(path: str) -> bytes:
    """A GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """Send a request and read its answer: status and body."""
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


async def load(
    port: int,
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    *,
    pause: float = 0.0,
    per_answer: int = 1,
    apart: bool = False,
) -> Load:
    """Keep a service busy.

    Args:
        port: Port of the service.
        requests: Requests, sent in turn.
        clients: Number of concurrent clients.
        seconds: Duration.
        pause: Seconds that a client waits after any status but 200.
        per_answer: Images per request.
        apart: Each client has an address of its own; else the service takes them for one.
    """
    seen = Load()
    started = time.perf_counter()
    until = started + seconds

    async def client(number: int) -> None:
        turn = number
        connection = None
        while time.perf_counter() < until:
            request = requests[turn % len(requests)]
            turn += clients
            asked = time.perf_counter()
            try:
                own = (f"127.0.2.{number % 250 + 1}" if apart else HOST, 0)
                connection = connection or await asyncio.open_connection(HOST, port, local_addr=own)
                status, _ = await ask(*connection, request)
            except (OSError, EOFError):
                connection, status = None, 0
            answered = time.perf_counter()
            seen.statuses[status] += 1
            if status == 200:
                seen.seconds.extend([answered - asked] * per_answer)
                continue
            if status != 429:
                seen.failures.append(answered - started)
            await asyncio.sleep(pause)
        if connection is not None:
            connection[1].close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    seen.wall = time.perf_counter() - started
    return seen


async def once(port: int, request: bytes) -> tuple[int, bytes]:
    """Send one request on a separate connection; status 0 without a response."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            return await ask(reader, writer, request)
        finally:
            writer.close()
    except (OSError, EOFError):
        return 0, b""


def metrics_of(body: bytes) -> dict[str, float]:
    """The samples of a Prometheus text."""
    lines = [line.rpartition(" ") for line in body.decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def children(pid: int) -> list[int]:
    """The live child processes of a process."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _words(task / "children")]


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def memory(pid: int) -> float:
    """Resident memory of a process, in MiB; what processes share counts in each."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def json_body(values: object) -> bytes:
    """A JSON body."""
    return json.dumps(values).encode()
