"""The core of the service: images in, answers out, independent of protocol and format."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from landmarks.serving.errors import Code, RequestError, as_code
from landmarks.serving.middleware.admission import Admission
from landmarks.serving.middleware.intake import Upload
from landmarks.serving.middleware.metrics import Metrics
from landmarks.serving.models.catalog import Catalog
from landmarks.serving.models.served import ServedModel
from landmarks.serving.pool.fair_thread import FairThread
from landmarks.serving.pool.pool import PoolClosedError, TooSlowError, WorkerLostError
from landmarks.serving.pool.protocol import Also
from landmarks.serving.schemas import LimitsCard, ModelsResponse, Photo
from landmarks.serving.settings import ServeSettings

Result = TypeVar("Result")

_BODIES = 8
"""Number of requests of maximum size that may be in memory at a time."""


@dataclass(frozen=True)
class Answered:
    """The answer for one image, with its embedding and its width and height if requested."""

    photo: Photo
    embedding: NDArray[np.float32] | None = None
    size: tuple[int, int] = (0, 0)


class Service:
    """The models with their workers, and what requests share.

    Args:
        settings: Settings of the service.
        pinned: Keep the network of the default model until a restart; see
            `landmarks.serving.models.catalog.Catalog`.

    Attributes:
        settings: As given.
        catalog: The models.
        admission: Admission control.
        metrics: The metrics.
        thread: For work of requests that would keep the event loop busy.

    Raises:
        ModelError: A model folder is damaged.
        PlacesError: A table of places is broken.
        SettingsError: A model has no such operating point.
    """

    def __init__(self, settings: ServeSettings, *, pinned: bool = False) -> None:
        self.settings = settings
        self.thread = FairThread()
        limits = settings.limits
        self.admission = Admission(limits.queue, _BODIES * limits.max_request_bytes)
        self.metrics = Metrics(
            waiting=lambda: self.catalog.waiting,
            inside=lambda: self.admission.taken,
            ready=lambda: self.catalog.workers,
        )
        self.catalog = Catalog(
            settings, pinned=pinned, replaced=self.metrics.replaced, reloaded=self.metrics.reloaded
        )

    async def tag(self, uploads: Sequence[Upload], model: ServedModel, *, preview: bool = False) -> list[Photo]:
        """Tag images, in order; an unreadable one gets its error and does not stop the others.

        Args:
            uploads: The images.
            model: A model in use.
            preview: Include a small JPEG of each.

        Raises:
            RequestError: None of them can be read.
        """
        also: list[Also] = ["preview"] if preview else []
        answers = await all_of(self.look(upload, model, also) for upload in uploads)
        photos = [answer.photo for answer in answers]
        errors = [photo.error for photo in photos if photo.error is not None]
        if len(errors) == len(photos):
            codes = {error.code for error in errors}
            code: Code = codes.pop() if len(codes) == 1 else "bad_request"
            raise self._problem(code, "; ".join(dict.fromkeys(error.message for error in errors)))
        return photos

    async def look(self, upload: Upload, model: ServedModel, also: Sequence[Also] = ()) -> Answered:
        """Tag one image; an error is in `photo.error`."""
        limit = self.settings.limits.max_file_bytes
        if len(upload.content) > limit:
            message = f"the picture has more than the {limit / 2**20:.0f} MiB that are allowed: make it smaller"
            return self._failed(upload, "too_large", message)
        try:
            reply = await model.pool.answer(upload.content, also, client=upload.client)
        except TooSlowError as error:
            return self._failed(upload, "decode_timeout", f"{error}: save it as an ordinary JPEG")
        except WorkerLostError as error:
            return self._failed(upload, "worker_lost", f"{error}: send it again, or a smaller copy")
        except PoolClosedError as error:
            return self._failed(upload, "unavailable", str(error))
        if "error" in reply:
            return self._failed(upload, as_code(reply["error"].get("code")), str(reply["error"].get("message")))
        seconds = reply.pop("seconds", {})
        encoded = reply.pop("embedding", None)
        width, height = reply.pop("size", (0, 0))
        photo = Photo.model_validate({**reply, "file": upload.file, "error": None})
        self.metrics.picture("tagged" if photo.tags else "unknown", seconds)
        return Answered(photo, None if encoded is None else _vector(encoded), (width, height))

    def _failed(self, upload: Upload, code: Code, message: str) -> Answered:
        self.metrics.picture(code)
        return Answered(Photo.failed(upload.file, code, message))

    def problem_of(self, photo: Photo) -> RequestError | None:
        """Return the error of an unreadable photo, or None."""
        return None if photo.error is None else self._problem(photo.error.code, photo.error.message)

    def _problem(self, code: Code, message: str) -> RequestError:
        retry = self.admission.retry_after() if code in {"worker_lost", "unavailable"} else None
        return RequestError(code, message, retry_after=retry)

    def models(self, *, search: bool) -> ModelsResponse:
        """Return the models, features and limits of the service."""
        limits = self.settings.limits
        allowed = LimitsCard(
            max_file_bytes=limits.max_file_bytes,
            max_pixels=limits.image.max_pixels,
            max_files=limits.max_files,
            max_request_bytes=limits.max_request_bytes,
        )
        cards = [served.card() for served in self.catalog.all]
        return ModelsResponse(models=cards, search=search, limits=allowed)

    def landmarks(self, model: str | None = None) -> bytes:
        """Return the landmarks of a model, by default the first, as the JSON of a `LandmarksResponse`."""
        return self.catalog.find(model).landmarks


async def all_of(works: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Return the results of concurrent work, in order.

    The first error ends all of it before it is raised: what a request began must not outlive the request, whose
    slots and model others then have.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _vector(encoded: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(encoded), dtype="<f4").astype(np.float32)
