"""Clients of every kind at one service: honest, slow, hostile and leaving ones, each from an address of its own.

`benchmarks/serve.py mixed` uses them, kills a worker from time to time, and changes the model folder.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from attacks import ATTACKS, Streams, connect
from load import Load, ask, children, load, memory

from landmarks.model.folder import read_info, write_info


@dataclass
class Mixed:
    """Results of a run.

    Attributes:
        honest: Results of the honest clients.
        slow: Answers to uploads at a low rate, by status.
        hostile: Answers to hostile clients, by status; 0 is a connection that was closed.
        left: Number of requests whose client left before the answer.
        killed: Number of workers killed.
        changed: Number of changes of the model folder.
        samples: Minutes since the start, MiB of the service, and MiB of its workers together.
    """

    honest: Load = field(default_factory=Load)
    slow: Counter[int] = field(default_factory=Counter)
    hostile: Counter[int] = field(default_factory=Counter)
    left: int = 0
    killed: int = 0
    changed: int = 0
    samples: list[tuple[float, float, float]] = field(default_factory=list)


async def mixed(port: int, pid: int, requests: Sequence[bytes], model: Path, seconds: float) -> Mixed:
    """Keep all kinds of clients at a service for some time.

    Args:
        port: Port of the service.
        pid: Its process ID.
        requests: Requests of the honest clients.
        model: Folder of the served model, which is changed.
        seconds: Duration; a worker is killed ten times in it, and the model changed five times.
    """
    seen = Mixed()
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def repeat(pause: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            with suppress(OSError, EOFError, ValueError):
                await work()
            await asyncio.sleep(pause)

    async def slowly() -> None:
        reader, writer = await connect(port, 20)
        for at in range(0, len(requests[0]), 8192):  # some 16 kB/s
            writer.write(requests[0][at : at + 8192])
            await asyncio.sleep(0.5)
        status, _ = await ask(reader, writer, b"")
        seen.slow[status] += 1
        writer.close()

    async def attack(number: int, sent: bytes) -> None:
        seen.hostile[await _hostile(await connect(port, 50 + number), sent)] += 1

    async def leave() -> None:
        _, writer = await connect(port, 40)
        writer.write(requests[seen.left % len(requests)])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()
        seen.left += 1

    async def kill() -> None:
        workers = children(pid)
        if workers:
            os.kill(workers[seen.killed % len(workers)], signal.SIGKILL)
            seen.killed += 1

    async def change() -> None:
        seen.changed += 1
        info = read_info(model)
        write_info(
            model, replace(info, created=f"2026-01-{seen.changed:02d}", temperature=info.temperature + 1e-6)
        )

    async def watch() -> None:
        workers = sum(memory(child) for child in children(pid))
        seen.samples.append(((loop.time() - started) / 60, memory(pid), workers))

    async def after(pause: float, work: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(pause)
        await repeat(pause, work)

    others = [repeat(0.0, slowly), repeat(0.05, leave), repeat(2.0, watch)]
    attacks = enumerate(start + piece for start, piece in ATTACKS.values())
    others += [repeat(0.2, partial(attack, number, sent)) for number, sent in attacks]
    others += [after(seconds / 10.5, kill), after(seconds / 5.5, change)]
    tasks = [asyncio.create_task(other) for other in others]
    seen.honest = await load(port, requests, 16, seconds, pause=0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return seen


async def _hostile(streams: Streams, sent: bytes) -> int:
    reader, writer = streams
    writer.write(sent)
    try:
        head = await reader.readuntil(b"\r\n")
        return int(head.split(b" ", 2)[1])
    except (OSError, EOFError):
        return 0
    finally:
        writer.transport.abort()


def own_copy(model: Path, folder: Path) -> Path:
    """Return a copy of a model that may be changed."""
    return Path(shutil.copytree(model, folder / model.name))
