"""Supervised worker processes: each gets one image at a time; one that dies or takes too long is replaced.

An image whose process dies is given to another one, once: after that the image is taken to be what kills them, and
fails. Everything runs in the event loop of the service, which never decodes an image itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from landmarks.errors import LandmarksError, ModelError
from landmarks.serving.pool import protocol as frames
from landmarks.serving.pool.fair_queue import FairLine
from landmarks.serving.pool.output import WorkerOutput
from landmarks.serving.pool.protocol import SIZES
from landmarks.serving.pool.worker import WorkerSettings

START_SECONDS = 60.0
"""A worker that has not loaded its model by then is restarted."""

_log = logging.getLogger("landmarks.serving")
_PAUSE = 0.5  # seconds before restarting a worker that died during start-up
_MAX_REPLY = 2**24  # bytes
_DIED = "the process died"
_LOST = "two processes died while they worked on the picture"
_TRIES = 2  # of an image whose process dies


class WorkerLostError(LandmarksError):
    """Each process that was given an image died on it."""


class TooSlowError(LandmarksError):
    """An image took longer than the limit, and its process was killed."""


class PoolClosedError(LandmarksError):
    """The service is shutting down, or replaces the model."""


class _DiedError(EOFError):
    """A worker exited while it was loading the model; `status` as in `subprocess`."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it ended with status {status}")
        self.status = status


@dataclass(eq=False)
class _Job:
    picture: bytes
    wanted: dict[str, list[frames.Also]]
    reply: asyncio.Future[dict[str, Any]]
    process: Process | None = None  # the worker that is processing it
    tries: int = 0  # processes that were given it


class Pool:
    """The workers and the images waiting for them.

    Args:
        settings: Settings of each worker.
        count: Number of workers.
        decode_seconds: Timeout per image, in seconds.
        replaced: Called with the reason each time a worker is replaced.

    Attributes:
        ready: Number of live workers that have loaded their model.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        count: int,
        decode_seconds: float,
        replaced: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._settings = settings
        self._count = count
        self._decode_seconds = decode_seconds
        self._replaced = replaced
        self._jobs: FairLine[_Job] = FairLine()
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: dict[Process, WorkerOutput] = {}
        self._closing = False
        self.ready = 0

    @property
    def waiting(self) -> int:
        """Number of images waiting for a worker."""
        return len(self._jobs)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        return tuple(process.pid for process in self._processes)

    async def open(self) -> None:
        """Start the workers and wait for them.

        Raises:
            ModelError: They cannot load the model.
        """
        first = await asyncio.gather(*(self._start() for _ in range(self._count)), return_exceptions=True)
        failed = [error for error in first if isinstance(error, BaseException)]
        if failed:
            await self._kill_all()
            if isinstance(failed[0], LandmarksError):
                raise failed[0]
            raise ModelError(f"{self._settings.model}: {_start_failure(failed[0])}") from failed[0]
        workers = [process for process in first if isinstance(process, Process)]
        self._tasks = [asyncio.create_task(self._watch(process)) for process in workers]

    async def answer(
        self, picture: bytes, also: Sequence[frames.Also] = (), *, client: str = ""
    ) -> dict[str, Any]:
        """Return a worker's answer for an image (see `landmarks.serving.pool.worker.Answerer.answer`).

        If the caller is cancelled, its image is removed from the queue, or its worker stops before the network.

        Args:
            picture: Content of a file.
            also: What to include besides.
            client: Client that sent the image; clients take turns.

        Raises:
            WorkerLostError: Two workers died on it.
            TooSlowError: It took too long.
            PoolClosedError: The pool is closing.
        """
        if self._closing:
            raise PoolClosedError("the service stops, or replaces the model: send it again")
        job = _Job(picture, {"also": list(also)}, asyncio.get_running_loop().create_future())
        self._jobs.put(client, job)
        try:
            return await job.reply
        except asyncio.CancelledError:
            self._jobs.remove(client, job)
            if job.process is not None:
                _send(job.process, frames.LEFT)
            raise

    async def close(self) -> None:
        """Stop the workers at once; waiting callers get a `PoolClosedError`."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while len(self._jobs):
            _, job = await self._jobs.take()
            _fail(job, PoolClosedError("the service stops, or replaces the model: send it again"))
        await self._kill_all()

    async def _watch(self, first: Process) -> None:
        """Keep one worker running, replacing it whenever it fails."""
        process: Process | None = first
        unpaid: list[tuple[str, float]] = []
        while True:
            if process is None:
                process = await self._start_again()
                continue
            while unpaid:  # an image that ends its worker costs what the next one takes to start
                client, started = unpaid.pop()
                self._jobs.done(client, time.monotonic() - started)
            feeding = asyncio.create_task(self._feed(process, unpaid))
            gone = asyncio.create_task(process.wait())
            try:
                # A worker that dies while idle must be noticed before the next image arrives.
                await asyncio.wait({feeding, gone}, return_when=asyncio.FIRST_COMPLETED)
                self._report(_reason(feeding))
            finally:
                self.ready -= 1
                feeding.cancel()
                gone.cancel()
                await asyncio.gather(feeding, gone, return_exceptions=True)
                await self._kill(process)
            process = None

    async def _feed(self, process: Process, unpaid: list[tuple[str, float]]) -> str:
        """Send images to a worker until it fails; return why. Client and start of the last one stay `unpaid`."""
        while True:
            client, job = await self._jobs.take()
            started = time.monotonic()
            problem: str | None = _DIED
            try:
                if _writable(process):
                    job.tries += 1
                    problem = await self._work(process, job)
            finally:  # whatever happens, the caller must not wait for ever
                if problem == _DIED and job.tries == _TRIES:
                    _fail(job, WorkerLostError(_LOST))
                if not job.reply.done():
                    self._jobs.put(client, job, first=True)
                if problem is None:
                    self._jobs.done(client, time.monotonic() - started)
                else:
                    unpaid.append((client, started))
            if problem is not None:
                return problem

    async def _work(self, process: Process, job: _Job) -> str | None:
        """Have a worker process one image, and return what is wrong with the worker, or None.

        An image whose worker died has no answer yet.
        """
        job.process = process
        try:
            async with asyncio.timeout(self._decode_seconds):
                reply = await _ask(process, job.wanted, job.picture)
        except TimeoutError:
            _fail(job, TooSlowError(f"the picture took longer than {self._decode_seconds:g} seconds"))
            return "a picture took too long"
        except (OSError, EOFError, ValueError):
            return _DIED
        finally:
            job.process = None
        if not job.reply.done():
            job.reply.set_result(reply)
        return None

    async def _start_again(self) -> Process | None:
        try:
            return await self._start()
        except (LandmarksError, OSError, EOFError, TimeoutError, ValueError) as error:
            _log.error("a worker could not be started", extra={"reason": str(error) or type(error).__name__})
            await asyncio.sleep(_PAUSE)
            return None

    async def _start(self) -> Process:
        """Start a worker and wait until it has loaded the model."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "landmarks.serving.pool.worker"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=_MAX_REPLY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the service, which then stops its workers in an orderly way
        )
        if process.stderr is None:
            raise OSError("a process without its pipes")
        self._processes[process] = WorkerOutput(process.stderr, process.pid)
        try:
            async with asyncio.timeout(START_SECONDS):
                reply = await _ask(process, self._settings.to_dict(), b"")
            if "fatal" in reply:
                raise ModelError(str(reply["fatal"]))
        except (EOFError, ConnectionError) as error:
            status = await process.wait()
            await self._kill(process)
            raise _DiedError(status) from error
        except BaseException:
            await self._kill(process)
            raise
        self.ready += 1
        return process

    def _report(self, reason: str) -> None:
        _log.warning("a worker is replaced", extra={"reason": reason})
        self._replaced(reason)

    async def _kill(self, process: Process) -> None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if (output := self._processes.pop(process, None)) is not None:
            await output.close()

    async def _kill_all(self) -> None:
        await asyncio.gather(*(self._kill(process) for process in set(self._processes)))
        self.ready = 0


async def _ask(process: Process, head: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Send a frame to a worker and return the header of its answer."""
    if process.stdin is None or process.stdout is None or not _send(process, head, body):
        raise ConnectionResetError(_DIED)
    await process.stdin.drain()
    head_size, _ = SIZES.unpack(await process.stdout.readexactly(SIZES.size))
    return frames.parse_head(await process.stdout.readexactly(min(head_size, _MAX_REPLY)))


def _send(process: Process, head: Mapping[str, Any], body: bytes = b"") -> bool:
    """Write a frame to a worker, or return False if its pipe is closed, where uvloop raises a RuntimeError."""
    if process.stdin is None or not _writable(process):
        return False
    process.stdin.writelines(frames.pack(head, body))
    return True


def _writable(process: Process) -> bool:
    return process.stdin is not None and not process.stdin.is_closing()


def _reason(feeding: asyncio.Task[str]) -> str:
    """Return why a worker is replaced; an error that nobody expected must not end its supervision."""
    if not feeding.done():
        return _DIED
    error = feeding.exception()
    if error is None:
        return feeding.result()
    _log.error("a worker failed for an unknown reason", exc_info=error)
    return "an unknown error"


def _start_failure(error: BaseException) -> str:
    """Return why a worker could not be started, in words."""
    if isinstance(error, TimeoutError):
        return f"a process had not loaded it after {START_SECONDS:g} seconds: is the machine too busy?"
    if isinstance(error, _DiedError) and error.status == -signal.SIGKILL:
        return "the process that loads it was killed: is there enough memory?"
    if isinstance(error, _DiedError):
        return f"the process that loads it ended with status {error.status}: the log has what it wrote"
    reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
    return f"no process can be started to load it ({reason.lower()})"


def _fail(job: _Job, error: LandmarksError) -> None:
    if not job.reply.done():
        job.reply.set_exception(error)
