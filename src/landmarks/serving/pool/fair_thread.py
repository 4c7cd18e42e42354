"""One thread for work of requests that would keep the event loop busy, such as packing many sidecars.

With threads of its own for each request, one client could have most of Python's time, which all threads share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from landmarks.serving.pool.fair_queue import FairLine

Result = TypeVar("Result")


@dataclass(eq=False)
class _Work:
    call: Callable[[], Any]
    spend: Callable[[float], object]
    reply: asyncio.Future[Any]


class FairThread:
    """The thread, and the work that waits for it; clients take turns."""

    def __init__(self) -> None:
        self._line: FairLine[_Work] = FairLine()
        self._working: asyncio.Task[None] | None = None

    async def run(self, client: str, call: Callable[[], Result], spend: Callable[[float], object]) -> Result:
        """Return what a call in the thread returns, or raise its error, once it is the client's turn.

        If the caller is cancelled, a call that has not begun never does.

        Args:
            client: Client of the request.
            call: The work.
            spend: Called with the CPU time that it took, in seconds.
        """
        work = _Work(call, spend, asyncio.get_running_loop().create_future())
        self._line.put(client, work)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        try:
            result: Result = await work.reply
        finally:
            self._line.remove(client, work)
        return result

    async def _work(self) -> None:
        while len(self._line):
            client, work = await self._line.take()
            seconds, result = await asyncio.to_thread(_timed, work.call)
            self._line.done(client, seconds)
            work.spend(seconds)
            if work.reply.done():
                continue
            if isinstance(result, Exception):
                work.reply.set_exception(result)
            else:
                work.reply.set_result(result)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU time of a call, in seconds, and its result or its error."""
    started = time.thread_time()
    try:
        result = call()
    except Exception as error:  # noqa: BLE001 - raised where its result is awaited
        result = error
    return time.thread_time() - started, result
