"""What workers write to standard error: libraries complain there of each damaged part of an image.

It becomes events of the log, which no image can fill so: at most one per second and worker, with the last lines.
Those of a worker that died say why.
"""

from __future__ import annotations

import asyncio
import logging

_log = logging.getLogger("landmarks.serving")
_PAUSE = 1.0  # seconds between two events
_PIECE = 2**16
_MOST = 2000  # bytes of an event: the end of a Python traceback fits
_REST_SECONDS = 1.0  # a child of a dead worker may keep its end of the pipe open


class WorkerOutput:
    """Reads the output of one worker until it ends, so that the worker never waits for a full pipe.

    Args:
        stream: The worker's standard error.
        pid: Its process id, for the log.
    """

    def __init__(self, stream: asyncio.StreamReader, pid: int) -> None:
        self._stream = stream
        self._pid = pid
        self._last = b""
        self._bytes = 0  # since the last event
        self._timer: asyncio.TimerHandle | None = None
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Log the rest once the worker has ended."""
        await asyncio.wait({self._reading}, timeout=_REST_SECONDS)
        self._reading.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._tell()

    async def _read(self) -> None:
        while piece := await self._stream.read(_PIECE):
            self._bytes += len(piece)
            self._last = (self._last + piece)[-_MOST:]
            self._timer = self._timer or asyncio.get_running_loop().call_later(_PAUSE, self._tell)

    def _tell(self) -> None:
        left_out = self._bytes - len(self._last)
        told = {"pid": self._pid, "output": self._last.decode(errors="replace"), "bytes_left_out": left_out}
        _log.warning("a worker wrote to standard error", extra=told)
        self._timer, self._last, self._bytes = None, b"", 0
