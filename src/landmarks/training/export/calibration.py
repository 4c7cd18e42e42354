"""Calibrates an exported model on its own predictions for the photos that the user gave, or for the bundled table.

How its thresholds are chosen is in `landmarks.training.export.thresholds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from landmarks.errors import DataError, counted, listed
from landmarks.fewshot.reference import Reference, make_reference
from landmarks.imaging.photos import find_photos
from landmarks.model.calibration import CHOSEN_ON, KNOWN, UNKNOWN, Calibration, Outputs, calibrate
from landmarks.model.ood import EmbeddingStatistics, ScoreKind, is_landmark, needs_statistics
from landmarks.model.recognizer import Recognizer
from landmarks.model.vectors import evenly
from landmarks.training.data.cache import resolved
from landmarks.training.data.folders import Sample, limit_evenly
from landmarks.training.data.loaders import Data, EvalTransform
from landmarks.training.engine.trained import trained_before
from landmarks.training.export.background_table import TableGroups
from landmarks.training.export.outputs import FolderOutputs, embeddings_of, outputs_by_folder, outputs_of
from landmarks.training.export.thresholds import OpenSetPhotos, OpenSetTargets, calibrate_open_set

TRAINING_PHOTOS = 50_000
"""Training images that tell where the classes lie among the embeddings, at least one of each class."""

LOGITS, LEAST_VALID = 30_000_000, 300
"""Logits of validation images that are kept for the fit, and the fewest images, whatever the number of classes."""


@dataclass(frozen=True)
class CalibrationPhotos:
    """Photos that must get no tag, and how strictly.

    Attributes:
        negatives: Photos without a landmark; each folder in it is a kind.
        unknown: Photos of landmarks that it must not claim; each folder in it is a landmark. None for none.
        score: Name of the score that separates known from unknown.
        targets: Rates to keep.
    """

    negatives: Path
    unknown: Path | None = None
    score: ScoreKind = "combined"
    targets: OpenSetTargets = field(default_factory=OpenSetTargets)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """What an exported model learns from the photos of its user.

    Attributes:
        calibration: Temperature and thresholds; None for a model that always answers.
        reference: For search and few-shot learning; None without negatives.
        unreadable: Photos that were left out because they cannot be read.
    """

    calibration: Calibration | None = None
    reference: Reference | None = None
    unreadable: tuple[Path, ...] = ()


def calibrate_export(folder: Path, data: Data, photos: CalibrationPhotos) -> Calibrated:
    """Fit temperature and thresholds of an exported model, on the model itself, and make its reference.

    Args:
        folder: The model folder.
        data: Its validation pictures fit the temperature, its training pictures tell where the classes lie among
            the embeddings.
        photos: Photos that it was not trained on and must say nothing of.

    Raises:
        DataError: There are too few readable photos for the rates.
    """
    recognizer = Recognizer(folder, threads=torch.get_num_threads())
    ordinary = outputs_by_folder(recognizer, photos.negatives)
    negatives = _together(list(ordinary.groups.values()))
    trained = _trained(recognizer, data)
    reference = make_reference(*trained, negatives.embeddings)
    if photos.score == "combined":
        none = FolderOutputs({}, ())
        unknown = none if photos.unknown is None else outputs_by_folder(recognizer, photos.unknown, UNKNOWN)
        outputs = _open_set_photos(recognizer, data, trained, TableGroups(ordinary.groups, unknown.groups))
        unreadable = (*ordinary.unreadable, *unknown.unreadable)
        with _naming(unreadable):
            calibration = calibrate_open_set(outputs, recognizer.info.classes, photos.targets)
        calibration = _with_folders(calibration, photos, (*ordinary.known, *unknown.known))
        return Calibrated(calibration, reference, unreadable)
    samples = fitted_on(data.folder.valid, len(data.folder.classes))
    valid = _cached(recognizer, data, samples)
    statistics = None
    if needs_statistics(photos.score):
        embeddings, labels = training_embeddings(recognizer, data, data.folder.train)
        statistics = EmbeddingStatistics.fit(embeddings, labels, len(data.folder.classes))
    with _naming(ordinary.unreadable):
        calibration = calibrate(
            valid,
            np.array([sample.label for sample in samples]),
            negatives,
            recognizer.info.classes,
            score=photos.score,
            target_fpr=photos.targets.ordinary,
            statistics=statistics,
        )
    return Calibrated(_with_folders(calibration, photos, ordinary.known), reference, ordinary.unreadable)


def require_others(folders: Sequence[Path], data: Data, init: Path | None) -> None:
    """Refuse photos that a model was trained on, whose answers promise nothing of others.

    Args:
        folders: Of photos.
        data: Of the run.
        init: The run that it started from, whose pictures count too; None for none.

    Raises:
        DataError: A folder has such a photo.
    """
    if not folders:
        return
    trained = set(resolved(sample.path for sample in (*data.folder.train, *data.folder.valid)))
    trained.update(*(seen for _, seen, _ in trained_before(init, data.folder.root)))
    for folder in folders:
        photos = find_photos([folder])
        if found := [photo for photo, place in zip(photos, resolved(photos), strict=True) if place in trained]:
            which = f"{len(found)} of {counted(len(photos), 'photo')} in it ({found[0].name})"
            raise DataError(f"{folder}: the model was trained on {which}: give others")


def _with_folders(calibration: Calibration, photos: CalibrationPhotos, known: Iterable[str]) -> Calibration:
    """Record the folders of photos and which in them were left out.

    By name: a model folder is passed on, without paths of this machine.
    """
    folders = [one.resolve().name for one in (photos.negatives, photos.unknown) if one is not None]
    return replace(calibration, fitted_on={**calibration.fitted_on, CHOSEN_ON: folders, KNOWN: sorted(set(known))})


@contextmanager
def _naming(unreadable: Sequence[Path]) -> Iterator[None]:
    """Name the photos that cannot be read where too few are left."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}{f'; {left_out(unreadable)}' if unreadable else ''}") from error


def left_out(unreadable: Sequence[Path | str]) -> str:
    """Return a sentence that names photos that cannot be read."""
    return f"left out, as they cannot be read: {listed(unreadable)}"


def calibrate_by_table(folder: Path, data: Data, table: TableGroups, targets: OpenSetTargets) -> Calibration:
    """Fit temperature and thresholds of a model with the frozen backbone on the bundled table.

    Args:
        folder: The model folder.
        data: As for `calibrate_export`.
        table: Predictions of this model for the photos of the table.
        targets: Rates to keep.
    """
    recognizer = Recognizer(folder, threads=torch.get_num_threads())
    photos = _open_set_photos(recognizer, data, _trained(recognizer, data), table)
    made = calibrate_open_set(photos, recognizer.info.classes, targets)
    return replace(made, fitted_on={**made.fitted_on, "table": True})


def _trained(recognizer: Recognizer, data: Data) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the embeddings and labels of training images of landmarks."""
    known = is_landmark(data.folder.classes)
    return training_embeddings(recognizer, data, [one for one in data.folder.train if known[one.label]])


def _open_set_photos(
    recognizer: Recognizer, data: Data, trained: tuple[NDArray[np.float32], NDArray[np.int64]], groups: TableGroups
) -> OpenSetPhotos:
    known = is_landmark(data.folder.classes)
    valid = fitted_on([one for one in data.folder.valid if known[one.label]], len(known))
    embeddings, labels = trained
    trained_background = [sample for sample in data.folder.train if not known[sample.label]]
    background = [_cached(recognizer, data, trained_background)] if trained_background else []
    return OpenSetPhotos(
        train=Outputs(np.empty((len(embeddings), 0), np.float32), embeddings),
        train_labels=labels,
        valid=_cached(recognizer, data, valid),
        valid_labels=np.array([sample.label for sample in valid]),
        ordinary=groups.ordinary,
        unknown=groups.unknown,
        background=background,
    )


def fitted_on(samples: Sequence[Sample], classes: int) -> Sequence[Sample]:
    """Return the validation images to calibrate on, evenly spaced: fewer for very many classes."""
    return evenly(samples, max(LEAST_VALID, LOGITS // classes))


def training_embeddings(
    recognizer: Recognizer, data: Data, samples: Sequence[Sample]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return embeddings (N, D) and labels (N,) of training images: at most `TRAINING_PHOTOS`, evenly by class."""
    drawn = limit_evenly(samples, TRAINING_PHOTOS, seed=0)
    embeddings = embeddings_of(recognizer, _crops(recognizer, data, drawn))
    return embeddings, np.array([sample.label for sample in drawn], dtype=np.int64)


def _cached(recognizer: Recognizer, data: Data, samples: Sequence[Sample]) -> Outputs:
    return outputs_of(recognizer, _crops(recognizer, data, samples))


def _crops(recognizer: Recognizer, data: Data, samples: Sequence[Sample]) -> Iterator[NDArray[np.uint8]]:
    crop = EvalTransform(recognizer.info.preprocessing).crop
    return (crop(data.cache.picture(sample.path)) for sample in samples)


def _together(parts: Sequence[Outputs]) -> Outputs:
    return Outputs(
        np.concatenate([part.logits for part in parts]), np.concatenate([part.embeddings for part in parts])
    )
