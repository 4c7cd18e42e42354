"""One process per core, each with a single-threaded network: the fastest way to process many photos on a CPU.

Photos are sent in small batches and results come back in order. Only a few batches are in flight at a time, so
memory does not grow with the number of photos. A process that dies, for example because the system ran out of
memory, is replaced; its photos are retried one by one, and one that kills its process again is reported as
unreadable. A process that may start none works alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain, islice
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Generic, TypeVar

from threadpoolctl import threadpool_limits

from landmarks.errors import ModelError, require_at_least

BATCH = 4
"""Photos per batch; larger batches are no faster and take more memory."""

FEW = 24
"""Up to this many photos are finished before other processes would have started."""

_AHEAD = 4  # batches in flight per process
_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
"""Never a plain fork: ONNX Runtime may already have threads, and a fork of those may deadlock."""
_LIVES = 5  # pools that may die in a row without an answer

Result = TypeVar("Result")
Job = Callable[[Sequence[Path]], list[Result]]
"""Turns a batch of photos into one result per photo."""


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare_workers(*modules: str) -> None:
    """Let the fork server start to import `modules` in the background.

    Only Linux has a fork server; elsewhere each process imports for itself and this does nothing.
    """
    if _METHOD == "forkserver":
        forkserver.set_forkserver_preload(list(modules))
        forkserver.ensure_running()


def run_parallel(
    start: Callable[[], Job[Result]],
    photos: Iterable[Path],
    failed: Callable[[Path, str], Result],
    *,
    workers: int | None = None,
) -> Iterator[Result]:
    """Run a job for each photo, in order; a small number of photos is processed in this process.

    Args:
        start: Called once in each worker process; returns its job. It and the results must be picklable. What it
            raises is raised here.
        photos: Files; consumed lazily.
        failed: Makes the result of a photo whose process died, from the photo and the reason.
        workers: Number of processes, or None for one per core.

    Raises:
        SettingsError: `workers` is below 1.
        ModelError: The processes die before any answer.
    """
    if workers is not None:
        require_at_least("workers", workers)
    return _run(start, photos, failed, cores() if workers is None else workers)


def _run(
    start: Callable[[], Job[Result]],
    photos: Iterable[Path],
    failed: Callable[[Path, str], Result],
    count: int,
) -> Iterator[Result]:
    source = iter(photos)
    first = list(islice(source, FEW + 1))
    if not first:
        return
    everything = chain(first, source)
    if count == 1 or len(first) <= FEW or multiprocessing.current_process().daemon:  # that may start no process
        job = start()
        for batch in _batches(everything):
            yield from job(batch)
        return
    with _Workers(start, count) as pool:
        waiting: deque[tuple[Sequence[Path], Future[list[Result]]]] = deque()
        for batch in _batches(everything):
            waiting.append((batch, pool.submit(batch)))
            if len(waiting) >= count * _AHEAD:
                yield from _next(pool, waiting, failed)
        while waiting:
            yield from _next(pool, waiting, failed)


def _batches(photos: Iterable[Path]) -> Iterator[list[Path]]:
    source = iter(photos)
    while batch := list(islice(source, BATCH)):
        yield batch


def _next(
    workers: _Workers[Result],
    waiting: deque[tuple[Sequence[Path], Future[list[Result]]]],
    failed: Callable[[Path, str], Result],
) -> Iterator[Result]:
    """Return the results of the oldest batch."""
    batch, future = waiting.popleft()
    try:
        results = future.result()
    except BrokenProcessPool:
        workers.renew()
        results = [_alone(workers, photo, failed) for photo in batch]
        again = [(other, workers.submit(other) if _is_lost(future) else future) for other, future in waiting]
        waiting.clear()
        waiting.extend(again)
    else:
        workers.lives = _LIVES
    yield from results


def _alone(workers: _Workers[Result], photo: Path, failed: Callable[[Path, str], Result]) -> Result:
    try:
        result = workers.submit([photo]).result()[0]
    except BrokenProcessPool:
        workers.renew()
        return failed(photo, "the process that recognised it died: is there enough memory?")
    workers.lives = _LIVES
    return result


def _is_lost(future: Future[Any]) -> bool:
    return not future.done() or isinstance(future.exception(), BrokenProcessPool)


class _Workers(Generic[Result]):
    """A pool of processes; a broken one is replaced.

    Args:
        start: Called once in each process.
        count: Number of processes.

    Attributes:
        lives: How many more pools may break before the next answer.
    """

    def __init__(self, start: Callable[[], Job[Result]], count: int) -> None:
        self._start = start
        self._count = count
        self.lives = _LIVES
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context(_METHOD)
        return ProcessPoolExecutor(self._count, context, initializer=_begin, initargs=(self._start,))

    def __enter__(self) -> _Workers[Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, batch: Sequence[Path]) -> Future[list[Result]]:
        """Submit a batch."""
        try:
            return self._pool.submit(_work, batch)
        except BrokenProcessPool as error:
            lost: Future[list[Result]] = Future()
            lost.set_exception(error)
            return lost

    def renew(self) -> None:
        """Start a new pool after a process died, which ends all others in its pool."""
        self.lives -= 1
        if self.lives < 0:
            raise ModelError(
                "the processes that load the model die before any answer: free some memory, or give `workers` 1; "
                "a script of your own must call this under if __name__ == '__main__'"
            )
        self._pool.shutdown(cancel_futures=True)
        self._pool = self._new()


_job: list[Job[Any]] = []  # of this process


def _begin(start: Callable[[], Job[Any]]) -> None:
    # Ctrl-C reaches every process; the parent ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1)  # numpy's threads would compete for the cores of the other processes
    try:
        job = start()
    except Exception as error:  # noqa: BLE001 - raised with the first batch, where it can be reported
        job = partial(_refuse, error)
    _job.append(job)


def _refuse(error: Exception, _batch: Sequence[Path]) -> list[Any]:
    raise error


def _end_with_parent() -> None:
    """End this process when its parent is killed and can no longer do so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(batch: Sequence[Path]) -> list[Any]:
    return _job[0](batch)
