"""Calibration of a model: the temperature, and the threshold for a target false-positive rate.

An OOD score of `landmarks.model.ood` is high for what a model knows; the threshold is chosen so that photos
without a landmark pass it at most at the target rate. A `Calibration` is stored in `model.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError, ModelError, SettingsError, counted, require_choice
from landmarks.geo.gazetteer import Gazetteer
from landmarks.imaging.photos import photos_by_kind
from landmarks.model.combination import Combination
from landmarks.model.folder import INFO_FILE, ModelInfo
from landmarks.model.ood import EmbeddingStatistics, ScoreKind, is_landmark, needs_statistics, ood_scores
from landmarks.model.operating_points import (
    NO_POINT,
    TIMES,
    UNCALIBRATED_MIN_CONFIDENCE,
    OperatingPoint,
    Preference,
    check_points,
    points_from_dict,
    points_to_dict,
)
from landmarks.model.probabilities import Floats, fit_temperature

KNOWN = "known_landmarks"
"""Key in `fitted_on` of the names of folders of photos that were left out, as the model knows these landmarks."""

CHOSEN_ON = "folders"
"""Key in `fitted_on` of the names of the folders of photos on which the thresholds were chosen."""

ORDINARY, UNKNOWN = "without a landmark", "of landmarks that the model does not know"
"""What photos that must get no tag are, for messages."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Turns the logits and embeddings of a model into calibrated answers or "I don't know".

    Attributes:
        temperature: That of the model, above 0.
        score: The OOD score.
        threshold: A photo with a lower score is unknown.
        target_fpr: Target false-positive rate: fraction of photos without a landmark that may pass, in (0, 1).
        min_confidence: Minimum probability for a tag: of a landmark, or the sum over a city, country or kind; in
            (0, 1).
        fitted_on: Description of the data it was fitted on, for the model card.
        statistics: Statistics of the training embeddings; None if the score needs none.
        operating_points: Other thresholds to choose from, by name; empty if none were measured.
        combination: Weights and neighbours of the score `combined`; None for the other scores.

    Raises:
        SettingsError: A value is out of range, the statistics that the score needs are missing, or the operating
            points contradict the thresholds.
    """

    temperature: float
    score: ScoreKind
    threshold: float
    target_fpr: float
    min_confidence: float = 0.5
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    statistics: EmbeddingStatistics | None = None
    operating_points: Mapping[Preference, OperatingPoint] = field(default_factory=dict)
    combination: Combination | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise SettingsError(f"temperature must be above 0, not {self.temperature}")
        require_choice("score", self.score, get_args(ScoreKind))
        if not math.isfinite(self.threshold):
            raise SettingsError(f"threshold must be a number, not {self.threshold}")
        for name in ("target_fpr", "min_confidence"):
            if not 0 < getattr(self, name) < 1:
                raise SettingsError(f"{name} must be above 0 and below 1, not {getattr(self, name)}")
        if needs_statistics(self.score) and self.statistics is None:
            raise SettingsError(f"the score {self.score} needs the statistics of the embeddings")
        if self.score == "combined" and self.combination is None:
            raise SettingsError("the score combined needs its weights and neighbours")
        check_points(self.operating_points, threshold=self.threshold, min_confidence=self.min_confidence)

    @property
    def measured(self) -> bool:
        """Whether the threshold was chosen on photos; a cautious default promises no false-positive rate."""
        return self.fitted_on.get("negatives") != 0

    def at(self, prefer: Preference) -> OperatingPoint:
        """Return the thresholds of a named operating point; `balanced` is the calibration's own.

        Raises:
            SettingsError: The model has no such operating point.
        """
        if prefer in self.operating_points:
            return self.operating_points[prefer]
        if prefer == "balanced":
            return OperatingPoint(self.threshold, self.min_confidence)
        raise _no_point(prefer, self.target_fpr)

    def scores(self, logits: Floats, embeddings: Floats, known: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the OOD scores (N,) to compare with the thresholds; arguments as of `ood_scores`."""
        return ood_scores(
            self.score,
            logits,
            embeddings,
            known=known,
            temperature=self.temperature,
            statistics=self.statistics,
            combination=self.combination,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the values as stored in `model.json`, which has the temperature beside them."""
        statistics = None if self.statistics is None else self.statistics.to_dict()
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "temperature"}
        points = points_to_dict(self.operating_points)
        made = {"fitted_on": dict(self.fitted_on), "statistics": statistics, "operating_points": points}
        return {**plain, **made, "combination": None if self.combination is None else self.combination.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], temperature: float) -> Calibration:
        """Create a calibration from the values of `to_dict` and the temperature of the model.

        Raises:
            ModelError: A value is missing, unknown or out of range.
        """
        try:
            statistics = values["statistics"]
            if statistics is not None:
                statistics = EmbeddingStatistics.from_dict(statistics)
            points = points_from_dict(values.get("operating_points", {}))  # older models have none
            combination = values.get("combination")  # likewise
            if combination is not None:
                combination = Combination.from_dict(combination)
            made = {"statistics": statistics, "operating_points": points, "combination": combination}
            fitted_on = {**values["fitted_on"]}
            if not isinstance(fitted_on.get("rates", {}), Mapping):
                raise TypeError("the rates are not a table")
            if not isinstance(fitted_on.get(CHOSEN_ON, []), list):
                raise TypeError("the folders are not a list")
            # Older models repeat the temperature.
            return cls(**{**values, **made, "fitted_on": fitted_on, "temperature": temperature})
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, SettingsError) as error:
            raise ModelError(f"the calibration is damaged ({error}): export the model again") from error


def calibration_of(folder: Path, info: ModelInfo) -> Calibration | None:
    """Return the calibration of a model, or None if it has none.

    Raises:
        ModelError: It is damaged, or does not fit the classes.
    """
    if info.calibration is None:
        return None
    path = folder / INFO_FILE
    try:
        found = Calibration.from_dict(info.calibration, info.temperature)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    if found.statistics is not None and len(found.statistics.means) != len(info.classes):
        raise ModelError(f"{path}: the class means do not fit the classes: export the model again")
    landmarks = int(is_landmark(info.classes).sum())
    if found.combination is not None and found.combination.neighbours.classes != landmarks:
        raise ModelError(f"{path}: the neighbours do not fit the classes: export the model again")
    return found


def operating_point(calibration: Calibration | None, prefer: Preference) -> OperatingPoint:
    """Return the thresholds of a named operating point.

    A model without a calibration has one, with no score to compare with its threshold.

    Raises:
        SettingsError: The model has no such operating point.
    """
    if calibration is not None:
        return calibration.at(prefer)
    if prefer != "balanced":
        raise _no_point(prefer)
    return OperatingPoint(threshold=0.0, min_confidence=UNCALIBRATED_MIN_CONFIDENCE)


def _no_point(prefer: Preference, target_fpr: float = 0.01) -> SettingsError:
    return SettingsError(NO_POINT.format(prefer=prefer, needed=negatives_needed(target_fpr * TIMES[prefer])))


def negatives_needed(target_fpr: float) -> int:
    """Return the number of photos without a landmark below which no threshold promises a false-positive rate."""
    return math.ceil(1 / min(0.5, target_fpr)) - 1


def negatives_by_folder(
    folder: Path, classes: Sequence[str], what: str = ORDINARY
) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Return the photos in each subfolder that is not named like a landmark of a model, and the others' names.

    Args:
        folder: The folder, read by `photos_by_kind`; photos in no subfolder are another group, named after it.
        classes: Class names of the model.
        what: What the photos should be, for messages.

    Raises:
        DataError: There is no photo, or all subfolders are named like landmarks of the model.
    """
    kinds = photos_by_kind(folder)
    if not kinds:
        raise DataError(f"{folder}: there are no photos in it: give a folder of photos {what}")
    key_of = Gazetteer.bundled().key_of
    taken = {key_of(name) for name, known in zip(classes, is_landmark(classes), strict=True) if known}
    known = tuple(name for name in kinds if name and key_of(name) in taken)
    if len(known) == len(kinds):
        raise DataError(f"{folder}: the model knows all landmarks in it: give a folder of photos {what}")
    groups: dict[str, list[Path]] = {}
    for name, photos in kinds.items():
        if name not in known:
            groups.setdefault(name or folder.resolve().name, []).extend(photos)
    return dict(sorted(groups.items())), known


def require_negatives(folder: Path, photos: int, target_fpr: float) -> None:
    """Refuse a folder of too few photos before any of them is read; raises `DataError`."""
    if photos < (needed := negatives_needed(target_fpr)):
        raise DataError(
            f"{folder}: {counted(photos, 'photo')} without a landmark cannot promise a rate of {target_fpr:g}: "
            f"give at least {needed}"
        )


def choose_threshold(negatives: Floats, target_fpr: float) -> float:
    """Return the lowest threshold that keeps a target false-positive rate.

    Split conformal: if future photos are like the negatives, a new one reaches the threshold with a probability of
    at most `target_fpr`, whatever the distribution of the scores. Of n negatives at most
    `target_fpr * (n + 1) - 1` may therefore reach it, one fewer than the plain quantile allows. Source: Bates,
    Candes, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", Annals of Statistics 51 (2023),
    https://arxiv.org/abs/2104.08279.

    Args:
        negatives: Scores of photos without a landmark that nothing else was fitted on.
        target_fpr: Target false-positive rate, in (0, 1).

    Raises:
        SettingsError: The rate is out of range.
        DataError: There are too few negatives for this rate.
    """
    if not 0 < target_fpr < 1:
        raise SettingsError(f"the target false-positive rate must be above 0 and below 1, not {target_fpr}")
    count = len(negatives)
    # The small term makes 0.01 * 300 round to 3.
    allowed = math.floor(target_fpr * (count + 1) * (1 + 1e-12)) - 1
    if allowed < 0:
        needed = negatives_needed(target_fpr)
        raise DataError(f"{count} negatives cannot promise a rate of {target_fpr:g}: give at least {needed}")
    falling = np.sort(np.asarray(negatives, dtype=np.float64))[::-1]
    return float(np.nextafter(falling[allowed], math.inf))


@dataclass(frozen=True, eq=False)
class Outputs:
    """Outputs of a network for N images: logits (N, K) and embeddings (N, D)."""

    logits: Floats
    embeddings: Floats


def calibrate(
    valid: Outputs,
    labels: NDArray[np.integer[Any]],
    negatives: Outputs,
    classes: Sequence[str],
    *,
    score: ScoreKind,
    target_fpr: float = 0.01,
    statistics: EmbeddingStatistics | None = None,
) -> Calibration:
    """Fit the temperature on validation images and choose the threshold on negatives.

    Args:
        valid: Outputs for validation images, preferably of the exported model; may include the background class.
        labels: Their classes.
        negatives: Outputs for photos without a landmark.
        classes: Names of the classes.
        score: The OOD score.
        target_fpr: Target false-positive rate, in (0, 1).
        statistics: Statistics of the training images, if the score needs them.

    Raises:
        DataError: There are too few negatives for the target false-positive rate.
        SettingsError: A value is out of range, or the score lacks its statistics.
    """
    temperature = fit_temperature(valid.logits, labels)
    known = is_landmark(classes)
    scores = ood_scores(
        score,
        negatives.logits,
        negatives.embeddings,
        known=known,
        temperature=temperature,
        statistics=statistics,
    )
    return Calibration(
        temperature=temperature,
        score=score,
        threshold=choose_threshold(scores, target_fpr),
        target_fpr=target_fpr,
        fitted_on={"validation": len(labels), "negatives": len(scores)},
        statistics=statistics if needs_statistics(score) else None,
    )
