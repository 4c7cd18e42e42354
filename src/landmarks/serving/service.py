"""The core of the service: images in, answers out, independent of protocol and format."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.calibration import Calibration, operating_point
from landmarks.model.folder import ONNX_FILE, ModelInfo, check_file, read_info
from landmarks.model.ood import is_landmark
from landmarks.model.operating_points import points_to_dict
from landmarks.serving.errors import Code, RequestError, as_code
from landmarks.serving.middleware.admission import Admission
from landmarks.serving.middleware.intake import Upload
from landmarks.serving.middleware.metrics import Metrics
from landmarks.serving.pool.pool import Pool, PoolClosedError, TooSlowError, WorkerLostError
from landmarks.serving.pool.worker import WorkerSettings
from landmarks.serving.schemas import (
    ErrorDetail,
    Feature,
    LandmarksResponse,
    LimitsCard,
    ModelCard,
    ModelsResponse,
    OperatingPointCard,
    OriginCard,
    Photo,
    Point,
)
from landmarks.serving.settings import ServeSettings
from landmarks.tagging.tagger import gazetteer_of, identity_of

_BODIES = 8
"""Number of requests of maximum size that may be in memory at a time."""


@dataclass(frozen=True)
class Answered:
    """The answer for one image, with its embedding and its width and height if requested."""

    photo: Photo
    embedding: NDArray[np.float32] | None = None
    size: tuple[int, int] = (0, 0)


class Service:
    """One model with its workers.

    Args:
        settings: Settings of the service.

    Attributes:
        settings: As given.
        info: The content of `model.json`.
        version: Identity of the model and of the settings that affect its answers.
        admission: Admission control.
        pool: The workers.
        metrics: The metrics.

    Raises:
        ModelError: The model folder is damaged.
        PlacesError: A table of places is broken.
        SettingsError: The model has no such operating point.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.info: ModelInfo = read_info(settings.model)
        check_file(settings.model, self.info, ONNX_FILE)
        stored = self.info.calibration
        self._calibration = None if stored is None else Calibration.from_dict(stored)
        operating_point(self._calibration, settings.tags.prefer)  # fail early, before the workers start
        self._gazetteer: Gazetteer = gazetteer_of(settings.model, settings.tags)
        self.version = identity_of(settings.model, self.info, settings.tags)
        limits = settings.limits
        self.admission = Admission(limits.queue, _BODIES * limits.max_request_bytes)
        self.metrics = Metrics(
            waiting=lambda: self.pool.waiting, inside=lambda: self.admission.taken, ready=lambda: self.pool.ready
        )
        self.pool = Pool(
            WorkerSettings(settings.model, settings.tags, limits.image),
            count=settings.workers,
            decode_seconds=limits.decode_seconds,
            replaced=self.metrics.replaced,
        )

    async def tag(self, uploads: Sequence[Upload]) -> list[Photo]:
        """Tag images, in order; an unreadable one gets its error and does not stop the others.

        Raises:
            RequestError: None of them can be read.
        """
        answers = await asyncio.gather(*(self.look(upload) for upload in uploads))
        photos = [answer.photo for answer in answers]
        errors = [photo.error for photo in photos if photo.error is not None]
        if len(errors) == len(photos):
            codes = {error.code for error in errors}
            code: Code = codes.pop() if len(codes) == 1 else "bad_request"
            raise self._problem(code, "; ".join(dict.fromkeys(error.message for error in errors)))
        return photos

    async def look(self, upload: Upload, *, embedding: bool = False, size: bool = False) -> Answered:
        """Tag one image; an error is in `photo.error`."""
        limit = self.settings.limits.max_file_bytes
        if len(upload.content) > limit:
            message = f"the picture has more than the {limit / 2**20:.0f} MiB that are allowed: make it smaller"
            return self._failed(upload, "too_large", message)
        try:
            reply = await self.pool.answer(upload.content, embedding=embedding, size=size, client=upload.client)
        except TooSlowError as error:
            return self._failed(upload, "decode_timeout", f"{error}: save it as an ordinary JPEG")
        except WorkerLostError as error:
            return self._failed(upload, "worker_lost", f"{error}: send it again")
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
        error = ErrorDetail(code=code, message=message)
        return Answered(Photo(file=upload.file, tags=[], candidates=[], known=False, reasons=[], error=error))

    def problem_of(self, photo: Photo) -> RequestError | None:
        """Return the error of an unreadable photo, or None."""
        return None if photo.error is None else self._problem(photo.error.code, photo.error.message)

    def _problem(self, code: Code, message: str) -> RequestError:
        retry = self.admission.retry_after() if code in {"worker_lost", "unavailable"} else None
        return RequestError(code, message, retry_after=retry)

    def models(self, *, search: bool) -> ModelsResponse:
        """Return the model, features and limits of the service."""
        info, limits, calibration = self.info, self.settings.limits, self._calibration
        card = ModelCard(
            name=info.name,
            version=self.version,
            architecture=info.architecture,
            precision=info.precision,
            created=info.created,
            landmarks=int(is_landmark(info.classes).sum()),
            calibrated=calibration is not None,
            promised_false_tag_rate=None if calibration is None else calibration.target_fpr,
            licence=info.licence,
            origin=[OriginCard(**asdict(one)) for one in info.origin],
            prefer=self.settings.tags.prefer,
            operating_points={
                name: OperatingPointCard(**values)
                for name, values in points_to_dict(
                    {} if calibration is None else calibration.operating_points
                ).items()
            },
        )
        allowed = LimitsCard(
            max_file_bytes=limits.max_file_bytes,
            max_pixels=limits.image.max_pixels,
            max_files=limits.max_files,
            max_request_bytes=limits.max_request_bytes,
        )
        return ModelsResponse(models=[card], search=search, limits=allowed)

    def landmarks(self) -> LandmarksResponse:
        """Return the landmarks of the model; several classes of one place are one feature."""
        features: dict[str, Feature] = {}
        for class_name, known in zip(self.info.classes, is_landmark(self.info.classes), strict=True):
            if not known:
                continue
            place = self._gazetteer.find(class_name)
            key = class_name if place is None else place.key
            if key in features:
                features[key].properties["classes"].append(class_name)
                continue
            properties: dict[str, Any] = {
                "name": self._gazetteer.display_name(class_name),
                "classes": [class_name],
            }
            point = None
            if place is not None:
                names = ("city", "country", "country_code", "kind", "wikidata")
                properties |= {name: getattr(place, name) for name in names}
                if place.latitude is not None and place.longitude is not None:
                    point = Point(coordinates=(place.longitude, place.latitude))
            features[key] = Feature(geometry=point, properties=properties)
        return LandmarksResponse(features=list(features.values()))


def _vector(encoded: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(encoded), dtype="<f4").astype(np.float32)
