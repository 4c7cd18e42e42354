"""One version of a model with its workers, which lives as long as requests use it."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from landmarks.errors import LandmarksError, ModelError, StorageError
from landmarks.files.temporary import TemporaryFolder
from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.calibration import calibration_of, operating_point
from landmarks.model.folder import LEARNED_FILE, ONNX_FILE, ModelInfo, check_file, learned_path, read_info
from landmarks.model.ood import is_landmark
from landmarks.model.operating_points import TIMES, estimated, points_to_dict, rate_labels
from landmarks.serving.pool.pool import Pool
from landmarks.serving.pool.worker import WorkerSettings
from landmarks.serving.schemas import (
    Feature,
    LandmarksResponse,
    ModelCard,
    OperatingPointCard,
    OriginCard,
    Point,
)
from landmarks.serving.settings import ServeSettings
from landmarks.tagging.tagger import gazetteer_of, identity_of

_log = logging.getLogger("landmarks.serving")

_MODEL, _OWN_PLACES = "model", "own-places.csv"  # names in a copy; the folder may be `.`, without one
_LOOK_SECONDS = 1.0  # between two looks whether a version that was replaced can still answer


class ServedModel:
    """One version of a model.

    Args:
        folder: Model folder.
        settings: Settings of the service.
        replaced: Called with the reason each time a worker is replaced.

    Attributes:
        info: The content of `model.json`.
        version: Identity of the model and of the settings that affect its answers.
        landmarks: Its landmarks as JSON; making it takes as long as several requests.
        pool: The workers.

    Raises:
        ModelError: The model folder is damaged.
        PlacesError: A table of places is broken.
        SettingsError: The model has no such operating point.
    """

    def __init__(self, folder: Path, settings: ServeSettings, replaced: Callable[[str], None]) -> None:
        self.info: ModelInfo = read_info(folder)
        tags = settings.tags
        self._copy = copy = _copy_of(folder, self.info, tags.own_places) if settings.reload_seconds > 0 else None
        self._originals: dict[Path, Path] = {}
        if copy is not None and tags.own_places is not None:
            self._originals[copy.path / _OWN_PLACES] = tags.own_places
            tags = replace(tags, own_places=copy.path / _OWN_PLACES)
        if copy is not None:
            self._originals[copy.path / _MODEL / LEARNED_FILE] = learned_path(folder, self.info)
            self._originals[copy.path / _MODEL] = folder
            folder = copy.path / _MODEL
        with self._naming_the_originals():
            if read_info(folder) != self.info:
                raise ModelError(f"{folder}: the folder changed while it was read")
            check_file(folder, self.info, ONNX_FILE)
            self._gazetteer: Gazetteer = gazetteer_of(folder, tags)
            self._calibration = calibration_of(folder, self.info)
        self._copied = () if copy is None else tuple(path for path in copy.path.rglob("*") if path.is_file())
        self._prefer, self._min_confidence = tags.prefer, tags.min_confidence
        operating_point(self._calibration, self._prefer)  # fail early, before the workers start
        self.version = identity_of(folder, self.info, tags)
        self.landmarks: bytes = self._list_landmarks().model_dump_json().encode()
        self.pool = Pool(
            WorkerSettings(folder, tags, settings.limits.image, self.version),
            count=settings.workers,
            decode_seconds=settings.limits.decode_seconds,
            replaced=replaced,
        )
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    async def open(self) -> None:
        """Start the workers; raises a `ModelError` if they cannot load the model."""
        with self._naming_the_originals():
            await self.pool.open()

    @contextmanager
    def _naming_the_originals(self) -> Iterator[None]:
        """Have errors name the files that were copied, not the copies, which are gone by then."""
        try:
            yield
        except LandmarksError as error:
            for copy, original in self._originals.items():
                error.args = (str(error).replace(str(copy), str(original)),)
            raise

    def is_lost(self) -> bool:
        """Return whether a file of its copy is gone, as after a clean-up of its folder: no worker can start."""
        return not all(path.exists() for path in self._copied)

    @contextmanager
    def use(self) -> Iterator[ServedModel]:
        """Keep the workers for a request, even if a newer version replaces this one meanwhile."""
        self._users += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._users -= 1
            if self._users == 0:
                self._unused.set()

    async def retire(self) -> None:
        """Stop the workers once no request uses them, or when all are gone and none can start."""
        while not self._unused.is_set() and (self.pool.ready or not self.is_lost()):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._unused.wait(), _LOOK_SECONDS)
        await self.close()

    async def close(self) -> None:
        """Stop the workers at once."""
        await self.pool.close()
        if self._copy is not None:
            self._copy.close()

    def card(self) -> ModelCard:
        """Describe the model."""
        info, calibration = self.info, self._calibration
        measured = calibration is not None and calibration.measured
        allowed = calibration.target_fpr * TIMES[self._prefer] if calibration is not None and measured else None
        fitted_on = {} if calibration is None else calibration.fitted_on
        return ModelCard(
            name=info.name,
            version=self.version,
            architecture=info.architecture,
            precision=info.precision,
            created=info.created,
            landmarks=int(is_landmark(info.classes).sum()),
            calibrated=measured,
            promised_false_tag_rate=allowed,
            licence=info.licence,
            origin=[OriginCard(**asdict(one)) for one in info.origin],
            prefer=self._prefer,
            min_confidence=self._min_confidence,
            operating_points={
                name: OperatingPointCard(**values)
                for name, values in points_to_dict(
                    {} if calibration is None else calibration.operating_points
                ).items()
            },
            rate_labels=rate_labels(fitted_on),
            rates_note=estimated(fitted_on),
        )

    def _list_landmarks(self) -> LandmarksResponse:
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


def _copy_of(folder: Path, info: ModelInfo, own_places: Path | None) -> TemporaryFolder | None:
    """Copy a model, what it was taught, and a table of places, so that workers can be replaced whatever happens.

    None if there is no space for it.
    """
    copy = None
    try:
        copy = TemporaryFolder("landmarks-served-")
        (copy.path / _MODEL).mkdir()
        with suppress(FileNotFoundError):  # first: the folder, and so its copy, may be read-only
            shutil.copyfile(learned_path(folder, info), copy.path / _MODEL / LEARNED_FILE)
        shutil.copytree(folder, copy.path / _MODEL, dirs_exist_ok=True)
        if own_places is not None:
            shutil.copyfile(own_places, copy.path / _OWN_PLACES)
    except BaseException as error:  # also when the service is stopped meanwhile
        if copy is not None:
            copy.close()
        if not isinstance(error, (OSError, StorageError)):
            raise
        _log.warning("a model could not be copied", extra={"model": str(folder), "reason": str(error)})
        return None
    return copy
