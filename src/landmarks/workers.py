"""One process a core, each with a one-thread network: the quickest way through many photos on a CPU.

Photos go out in small batches and come back in order. Only a few batches are on their way at a time, so memory
stays flat over any number of photos. A process that dies, for example because the system ran out of memory, is
replaced; its photos are tried again one by one, and one that kills its process again is reported like a photo
that cannot be read.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from landmarks.errors import ModelError
from landmarks.recognizer import Recognition, Recognizer

BATCH = 4
"""Photos that go through a network together; more make no process faster and take more memory."""

FEW = 24
"""So many photos are done before other processes would have started."""

_AHEAD = 4  # batches on their way for each process
_LIVES = 5  # pools that may die one after the other without an answer

Result = TypeVar("Result")
Job = Callable[[Sequence[Path]], list[Result]]
"""Turns a batch of photos into one result each."""


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def recognize_parallel(
    folder: Path, photos: Iterable[Path], processes: int | None = None, *, top: int = 5
) -> Iterator[Recognition]:
    """Recognise photos in several processes, in order; few photos are recognised in this one.

    Args:
        folder: Model folder.
        photos: Files; they are asked for as they are needed.
        processes: How many, or None for one a core.
        top: How many candidates a photo gets.

    Raises:
        ModelError: The folder is damaged, or no process that loads it lives.
    """
    start = partial(_load, folder, top)
    return run_parallel(start, photos, _failed, processes=processes)


def run_parallel(
    start: Callable[[], Job[Result]],
    photos: Iterable[Path],
    failed: Callable[[Path, str], Result],
    *,
    processes: int | None = None,
) -> Iterator[Result]:
    """Do a job for each photo, in order; few photos are done in this process.

    Args:
        start: Called once in each process, this one included; gives its job. It must be picklable, and so must
            be the results.
        photos: Files; they are asked for as they are needed.
        failed: Makes the result of a photo whose process died, from the photo and the reason.
        processes: How many, or None for one a core.

    Raises:
        ModelError: The processes die before they have given any answer.
    """
    count = processes or cores()
    source = iter(photos)
    first = list(islice(source, FEW + 1))
    if not first:
        return
    everything = chain(first, source)
    job = start()  # here too, because what is wrong with the model can be said here alone
    if count == 1 or len(first) <= FEW:
        for batch in _batches(everything):
            yield from job(batch)
        return
    with _Workers(start, count) as workers:
        waiting: deque[tuple[Sequence[Path], Future[list[Result]]]] = deque()
        for batch in _batches(everything):
            waiting.append((batch, workers.submit(batch)))
            if len(waiting) >= count * _AHEAD:
                yield from _next(workers, waiting, failed)
        while waiting:
            yield from _next(workers, waiting, failed)


def _batches(photos: Iterable[Path]) -> Iterator[list[Path]]:
    source = iter(photos)
    while batch := list(islice(source, BATCH)):
        yield batch


def _next(
    workers: _Workers[Result],
    waiting: deque[tuple[Sequence[Path], Future[list[Result]]]],
    failed: Callable[[Path, str], Result],
) -> Iterator[Result]:
    """Give the results of the batch that has waited longest."""
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
        return failed(photo, "the process that recognised it died: is it too large for the memory?")
    workers.lives = _LIVES
    return result


def _is_lost(future: Future[Any]) -> bool:
    return not future.done() or isinstance(future.exception(), BrokenProcessPool)


class _Workers(Generic[Result]):
    """The processes; a new set takes the place of a broken one.

    Args:
        start: Called once in each process.
        count: How many.

    Attributes:
        lives: How many more sets may break before the next answer.
    """

    def __init__(self, start: Callable[[], Job[Result]], count: int) -> None:
        self._start = start
        self._count = count
        self.lives = _LIVES
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        # Never fork: ONNX Runtime has threads by now, and a fork of those may stand still for ever.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._count, context, initializer=_begin, initargs=(self._start,))

    def __enter__(self) -> _Workers[Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, batch: Sequence[Path]) -> Future[list[Result]]:
        """Send a batch out."""
        try:
            return self._pool.submit(_work, batch)
        except BrokenProcessPool as error:
            lost: Future[list[Result]] = Future()
            lost.set_exception(error)
            return lost

    def renew(self) -> None:
        """Start anew after a process died, which ends all the others of its set."""
        self.lives -= 1
        if self.lives < 0:
            raise ModelError(
                "the processes that load the model die before any answer: free some memory, or give --processes 1"
            )
        self._pool.shutdown(cancel_futures=True)
        self._pool = self._new()


_job: list[Job[Any]] = []  # of this process


def _begin(start: Callable[[], Job[Any]]) -> None:
    # Ctrl-C reaches every process; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _job.append(start())


def _end_with_parent() -> None:
    """End this process when the one that started it is killed and can no longer do so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(batch: Sequence[Path]) -> list[Any]:
    return _job[0](batch)


def _load(folder: Path, top: int) -> Job[Recognition]:
    recognizer = Recognizer(folder)

    def job(photos: Sequence[Path]) -> list[Recognition]:
        return list(recognizer.recognize(photos, top=top, batch_size=BATCH))

    return job


def _failed(photo: Path, reason: str) -> Recognition:
    return Recognition(photo, (), reason)
