"""Calibrates an exported model on its own predictions for the photos that the user gave, or for the bundled table.

How its thresholds are chosen is in `landmarks.training.export.thresholds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from landmarks.model.calibration import Calibration, Outputs, calibrate
from landmarks.model.ood import EmbeddingStatistics, ScoreKind, is_landmark, needs_statistics
from landmarks.model.recognizer import Recognizer
from landmarks.training.data.folders import Sample
from landmarks.training.data.loaders import Data, EvalTransform
from landmarks.training.export.background_table import TableGroups
from landmarks.training.export.outputs import outputs_by_folder, outputs_of
from landmarks.training.export.thresholds import OpenSetPhotos, OpenSetTargets, calibrate_open_set


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


def calibrate_export(folder: Path, data: Data, photos: CalibrationPhotos) -> Calibration:
    """Fit temperature and thresholds of an exported model, on the model itself.

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
    if photos.score == "combined":
        unknown = {} if photos.unknown is None else outputs_by_folder(recognizer, photos.unknown)
        outputs = _open_set_photos(recognizer, data, TableGroups(ordinary, unknown))
        return calibrate_open_set(outputs, recognizer.info.classes, photos.targets)
    valid = _cached(recognizer, data, data.folder.valid)
    statistics = None
    if needs_statistics(photos.score):
        labels = np.array([sample.label for sample in data.folder.train])
        embeddings = _cached(recognizer, data, data.folder.train).embeddings
        statistics = EmbeddingStatistics.fit(embeddings, labels, len(data.folder.classes))
    return calibrate(
        valid,
        np.array([sample.label for sample in data.folder.valid]),
        _together(list(ordinary.values())),
        recognizer.info.classes,
        score=photos.score,
        target_fpr=photos.targets.ordinary,
        statistics=statistics,
    )


def calibrate_by_table(folder: Path, data: Data, table: TableGroups, targets: OpenSetTargets) -> Calibration:
    """Fit temperature and thresholds of a model with the frozen backbone on the bundled table.

    Args:
        folder: The model folder.
        data: As for `calibrate_export`.
        table: Predictions of this model for the photos of the table.
        targets: Rates to keep.
    """
    recognizer = Recognizer(folder, threads=torch.get_num_threads())
    return calibrate_open_set(_open_set_photos(recognizer, data, table), recognizer.info.classes, targets)


def _open_set_photos(recognizer: Recognizer, data: Data, groups: TableGroups) -> OpenSetPhotos:
    known = is_landmark(data.folder.classes)
    train = [sample for sample in data.folder.train if known[sample.label]]
    valid = [sample for sample in data.folder.valid if known[sample.label]]
    trained_background = [sample for sample in data.folder.train if not known[sample.label]]
    background = [_cached(recognizer, data, trained_background)] if trained_background else []
    return OpenSetPhotos(
        train=_cached(recognizer, data, train),
        train_labels=np.array([sample.label for sample in train]),
        valid=_cached(recognizer, data, valid),
        valid_labels=np.array([sample.label for sample in valid]),
        ordinary=groups.ordinary,
        unknown=groups.unknown,
        background=background,
    )


def _cached(recognizer: Recognizer, data: Data, samples: Sequence[Sample]) -> Outputs:
    crop = EvalTransform(recognizer.info.preprocessing).crop
    return outputs_of(recognizer, (crop(data.cache.picture(sample.path)) for sample in samples))


def _together(parts: Sequence[Outputs]) -> Outputs:
    return Outputs(
        np.concatenate([part.logits for part in parts]), np.concatenate([part.embeddings for part in parts])
    )
