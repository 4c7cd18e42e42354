"""Analyses the images of jobs beside the requests, and deletes jobs when their time is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from landmarks.serving.errors import RequestError
from landmarks.serving.jobs.store import Item, JobStore
from landmarks.serving.middleware.intake import Upload
from landmarks.serving.schemas import Photo
from landmarks.serving.service import Service
from landmarks.serving.settings import JobLimits

Result = TypeVar("Result")

_EXPIRY_SECONDS = 60.0  # between two looks for jobs whose time is over


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
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")  # SQLite may wait for the disk
        self._tasks: list[asyncio.Task[None]] = []
        self._more = asyncio.Condition()
        self.pending = self._store.waiting()[0]

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
        self._thread.shutdown()

    async def call(self, work: Callable[[JobStore], Result]) -> Result:
        """Use the store, in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._store)

    async def add(self, owner: str, model: str | None, images: Sequence[tuple[str | None, bytes]]) -> str:
        """Store a job, and return its ID.

        Raises:
            RequestError: The jobs together have too many bytes already.
        """
        size = sum(len(content) for _, content in images)

        def stored(store: JobStore) -> str | None:
            fits = store.waiting()[1] + size <= self._limits.job_mb * 2**20
            return store.add(owner, model, images) if fits else None

        job = await self.call(stored)
        if job is None:
            message = "too many images of jobs are waiting: send the job again later"
            raise RequestError("overloaded", message, retry_after=30)
        self.pending += len(images)
        await self._wake()
        return job

    async def delete(self, job: str, owner: str) -> bool:
        """Delete a job of an owner with its images and results; return whether there was one."""
        gone = await self.call(lambda store: store.delete(job, owner))
        self.pending = (await self.call(lambda store: store.waiting()))[0]
        return gone

    async def _wake(self) -> None:
        async with self._more:
            self._more.notify_all()

    async def _work(self) -> None:
        while True:
            async with self._more:
                item = await self.call(lambda store: store.take())
                if item is None:
                    await self._more.wait()
                    continue
            await self._analyse(item)

    async def _analyse(self, item: Item) -> None:
        photo, version = await self._look(item)
        code = None if photo.error is None else photo.error.code
        if code == "unavailable":  # the service stops, or replaces the model
            await self.call(lambda store: store.give_back(item))
            await asyncio.sleep(1)
            return
        result = photo.model_dump() | {"model": version}
        await self.call(lambda store: store.finish(item, result, failed=code is not None))
        self.pending = max(0, self.pending - 1)

    async def _look(self, item: Item) -> tuple[Photo, str]:
        known = item.model if item.model in self._service.catalog.names else None
        with self._service.catalog.use(known) as served:
            upload = Upload(item.file, item.content, f"job {item.owner}")
            return (await self._service.look(upload, served)).photo, served.version

    async def _expire(self) -> None:
        while True:
            before = time.time() - self._limits.job_hours * 3600
            await self.call(lambda store, before=before: store.expire(before))  # type: ignore[misc]
            await asyncio.sleep(_EXPIRY_SECONDS)
