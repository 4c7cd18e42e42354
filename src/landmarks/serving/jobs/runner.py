"""Analyses the images of jobs beside the requests, and deletes jobs when their time is over."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from landmarks.serving.errors import RequestError
from landmarks.serving.jobs.archive import Packed
from landmarks.serving.jobs.store import Item, Job, JobStore, NewImage
from landmarks.serving.middleware.intake import Upload
from landmarks.serving.pool.fair_thread import FairThread
from landmarks.serving.schemas import Photo
from landmarks.serving.service import Answered, Service
from landmarks.serving.settings import JobLimits

Result = TypeVar("Result")

_log = logging.getLogger("landmarks.serving")
_EXPIRY_SECONDS = 60.0  # between two looks for jobs whose time is over
_RETRY_SECONDS = 5.0  # before the next try to use a file that could not be used, such as on a full disk


@dataclass(frozen=True)
class Asker:
    """Who uses the file of jobs: a client, and what charges it for CPU time, in seconds."""

    client: str
    spend: Callable[[float], object]


_ITSELF = Asker("", lambda _seconds: None)


class JobRunner:
    """The jobs of a service.

    Args:
        service: The service.
        limits: Limits of jobs.

    Attributes:
        pending: Number of images without a result.

    Raises:
        SettingsError: The file of jobs cannot be used.
    """

    def __init__(self, service: Service, limits: JobLimits) -> None:
        if limits.path is None:
            raise ValueError("there is no file for jobs")
        self._service = service
        self._limits = limits
        self._store = JobStore(limits.path)
        self._thread = FairThread()  # SQLite may wait for the disk
        self._tasks: list[asyncio.Task[None]] = []
        self._more = asyncio.Event()  # set, and replaced by another one, when there are more images
        self.pending = self._store.waiting()

    async def open(self) -> None:
        """Start, or go on with what an earlier process has left."""
        loops = [self._work() for _ in range(self._service.settings.workers)]
        self._tasks = [asyncio.create_task(loop) for loop in (*loops, self._expire())]

    async def close(self) -> None:
        """Stop; images that are being analysed will be analysed again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.call(lambda store: store.close())

    async def call(self, work: Callable[[JobStore], Result], asker: Asker = _ITSELF) -> Result:
        """Use the store, in its thread, where those who ask take turns.

        Raises:
            RequestError: The file cannot be used.
        """
        try:
            return await self._thread.run(asker.client, partial(work, self._store), asker.spend)
        except sqlite3.Error as error:
            _log.error("the file of jobs cannot be used", extra={"reason": str(error)})
            message = "jobs cannot be read or stored just now, perhaps because the disk is full: try again later"
            raise RequestError("unavailable", message, retry_after=30) from error

    async def _keep_trying(self, work: Callable[[JobStore], Result]) -> Result:
        """Use the store, again and again until it can be used: an image in work must not get lost meanwhile."""
        while True:
            with suppress(RequestError):
                return await self.call(work)
            await asyncio.sleep(_RETRY_SECONDS)

    async def add(self, owner: str, model: str | None, images: Sequence[Packed], asker: Asker = _ITSELF) -> Job:
        """Store a job, all of it or nothing, and return it.

        Its images are unpacked as they are stored, so that no more than one is in memory. One that cannot be
        unpacked gets its error as its result.

        Raises:
            RequestError: The jobs and their results have too many bytes already, or those of this owner more than
                they leave to others; no image can be unpacked; or the file cannot be used.
        """
        size = sum(image.size for image in images)

        def stored(store: JobStore) -> Job | None:
            free = self._limits.job_mb * 2**20 - store.size() - size
            # A key gets no more than its jobs leave to others, so none fills the room. Source: Choudhury and
            # Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (1998).
            held = store.size_of(owner) if owner else 0
            fits = held + size <= free if held else free >= 0
            return store.find(store.add(owner, model, _unpacked(images)), owner) if fits else None

        storing = asyncio.create_task(self.call(stored, asker))
        try:
            job = await asyncio.shield(storing)
        except asyncio.CancelledError:
            # Its client never gets the ID: the job would be analysed for nobody, and a retry would come on top.
            with suppress(RequestError):
                if (unwanted := await storing) is not None:
                    await self.delete(unwanted.id, owner)
            raise
        if job is None:
            message = "there is no room for more of your jobs: delete those you have read, or send it again later"
            raise RequestError("overloaded", message, retry_after=30)
        self.pending += job.images - job.done
        for _ in range(job.failed):
            self._service.metrics.picture("bad_request")
        self._more.set()
        self._more = asyncio.Event()
        return job

    async def delete(self, job: str, owner: str, asker: Asker = _ITSELF) -> bool:
        """Delete a job of an owner with its images and results; return whether there was one."""
        gone = await self.call(lambda store: store.delete(job, owner), asker)
        self.pending = await self.call(lambda store: store.waiting())
        return gone

    async def _work(self) -> None:
        while True:
            more = self._more
            item = await self._keep_trying(lambda store: store.take())
            if item is None:
                await more.wait()
            else:
                await self._analyse(item)

    async def _analyse(self, item: Item) -> None:
        photo, version = await self._look(item)
        code = None if photo.error is None else photo.error.code
        if code == "unavailable":  # the service stops, or replaces the model
            await self._keep_trying(lambda store: store.give_back(item))
            await asyncio.sleep(1)
            return
        result = photo.model_dump() | {"model": version}
        if await self._keep_trying(lambda store: store.finish(item, result, failed=code is not None)):
            self.pending = max(0, self.pending - 1)

    async def _look(self, item: Item) -> tuple[Photo, str]:
        try:
            self._service.catalog.find(item.model)
        except RequestError as error:  # after a restart with other models
            self._service.metrics.picture(error.code)
            return Photo.failed(item.file, error.code, error.message), ""
        with self._service.catalog.use(item.model) as served:
            upload = Upload(item.file, item.content, f"job {item.owner}")
            # Whatever goes wrong with one image, it must not end the work on all others.
            (answer,) = await asyncio.gather(self._service.look(upload, served), return_exceptions=True)
        if isinstance(answer, Answered):
            return answer.photo, served.version
        _log.error("an image of a job failed", extra={"job": item.job}, exc_info=answer)
        return Photo.failed(item.file, "internal", "the service failed on this image; see its log"), served.version

    async def _expire(self) -> None:
        while True:
            before = time.time() - self._limits.job_hours * 3600
            await self._keep_trying(lambda store, before=before: store.expire(before))  # type: ignore[misc]
            await asyncio.sleep(_EXPIRY_SECONDS)


def _unpacked(images: Sequence[Packed]) -> Iterator[NewImage]:
    """Unpack images one at a time; raise the error of the first if none can be unpacked."""
    problems: list[RequestError] = []
    for image in images:
        try:
            yield NewImage(image.file, image.content())
        except RequestError as error:
            problems.append(error)
            if len(problems) == len(images):
                raise problems[0] from None
            result = Photo.failed(image.file, error.code, error.message).model_dump() | {"model": ""}
            yield NewImage(image.file, None, result)
