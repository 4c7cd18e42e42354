"""The threshold of an imported model, chosen on the user's own photos without a landmark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from landmarks.errors import DataError, SettingsError
from landmarks.model.calibration import (
    CHOSEN_ON,
    KNOWN,
    Calibration,
    choose_threshold,
    negatives_by_folder,
    require_negatives,
)
from landmarks.model.ood import ScoreKind
from landmarks.model.recognizer import Recognizer

TARGET_FPR = 0.01

COSINE_TEMPERATURE = 0.03
"""Divisor of cosines before softmax: a name that leads by 0.1 is about thirty times as likely as the next."""

CAUTIOUS = {"cosine_margin": 0.95, "max_probability": 0.9}
"""Thresholds without negatives. For prototypes: a cosine of 0.9, the value that Nextcloud Recognize uses for these
networks, and a lead of 0.05 over the next name. They guarantee no false-positive rate."""


@dataclass(frozen=True)
class Negatives:
    """The user's photos without a landmark.

    Attributes:
        folder: Folder of the photos.
        target_fpr: Target false-positive rate: fraction of such photos that may get a tag, in (0, 1).

    Raises:
        SettingsError: The rate is out of range.
    """

    folder: Path
    target_fpr: float = TARGET_FPR

    def __post_init__(self) -> None:
        if not 0 < self.target_fpr < 1:
            raise SettingsError(f"`target_fpr` must lie between 0 and 1, not {self.target_fpr}")


def cautious(score: ScoreKind, temperature: float) -> Calibration:
    """Return the default calibration of a model without negatives."""
    return Calibration(
        temperature=temperature,
        score=score,
        threshold=CAUTIOUS[score],
        target_fpr=TARGET_FPR,
        fitted_on={"negatives": 0},
    )


def fitted(folder: Path, usual: Calibration, negatives: Negatives) -> Calibration:
    """Choose the threshold of a model folder on negatives; those named like its landmarks are left out.

    Args:
        folder: A complete model folder with `usual` as its calibration.
        usual: Its current calibration; the score is kept.
        negatives: Photos without a landmark, and the target false-positive rate.

    Raises:
        DataError: There are too few readable photos for the rate.
    """
    recognizer = Recognizer(folder)
    groups, known = negatives_by_folder(negatives.folder, recognizer.info.classes)
    photos = [photo for group in groups.values() for photo in group]
    require_negatives(negatives.folder, len(photos), negatives.target_fpr)
    scores = np.array([*_scores(recognizer, photos)])
    if len(scores) == 0:
        raise DataError(f"{negatives.folder}: no readable photo: give a folder of photos without a landmark")
    return replace(
        usual,
        threshold=choose_threshold(scores, negatives.target_fpr),
        target_fpr=negatives.target_fpr,
        fitted_on={
            "negatives": len(scores),
            "unreadable": len(photos) - len(scores),
            KNOWN: list(known),
            CHOSEN_ON: [negatives.folder.resolve().name],
        },
    )


def _scores(recognizer: Recognizer, photos: Iterable[Path]) -> Iterable[float]:
    for recognition in recognizer.recognize(photos, top=1, batch_size=8):
        if recognition.score is not None:
            yield recognition.score
