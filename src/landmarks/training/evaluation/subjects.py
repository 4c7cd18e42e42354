"""Subjects of an evaluation: a model in any format, with its classes and places.

A model folder uses the same pipeline as `landmarks tag` and needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from landmarks.fewshot.learned import learned_digest, read_learned
from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.calibration import CHOSEN_ON, calibration_of
from landmarks.model.folder import read_info
from landmarks.tagging.pipeline import find_tags_parallel
from landmarks.tagging.settings import TagSettings
from landmarks.tagging.tagger import Finding, gazetteer_of, identity_of

Answer = Callable[[Iterable[Path]], Iterator[Finding]]
"""Yields the finding of each photo, in order."""


@dataclass(frozen=True)
class Subject:
    """A model that can be evaluated.

    Attributes:
        name: Display name.
        identity: Name and hash, which change with anything that affects an answer.
        classes: Its classes, including learned landmarks.
        gazetteer: Its places.
        calibrated: Whether it is calibrated for unknown photos.
        answer: Returns its findings.
        trained_on: Names of the data sets that it, or a run it started from, was trained on, if known.
        chosen_on: Names of the folders of photos on which its thresholds were chosen, if known.
    """

    name: str
    identity: str
    classes: tuple[str, ...]
    gazetteer: Gazetteer
    calibrated: bool
    answer: Answer
    trained_on: tuple[str, ...] = ()
    chosen_on: tuple[str, ...] = ()


def subject_of_folder(folder: Path, settings: TagSettings, *, workers: int | None = None) -> Subject:
    """Open a model folder; raises `ModelError` or `PlacesError` if it is damaged."""
    info = read_info(folder)
    learned = read_learned(folder, info) if learned_digest(folder, info) is not None else None
    calibration = calibration_of(folder, info)
    taught = () if learned is None else tuple(landmark.name for landmark in learned.landmarks)
    return Subject(
        name=info.name,
        identity=identity_of(folder, info, settings),
        classes=(*info.classes, *taught),
        gazetteer=gazetteer_of(folder, settings),
        calibrated=calibration is not None and calibration.measured,
        answer=lambda photos: find_tags_parallel(folder, settings, photos, workers=workers),
        # The collections of runs before, which this one has no pictures of, are not counted.
        trained_on=(str(info.data.get("name", "")), *(one.collection for one in info.origin if not one.pictures)),
        chosen_on=() if calibration is None else tuple(calibration.fitted_on.get(CHOSEN_ON, ())),
    )
