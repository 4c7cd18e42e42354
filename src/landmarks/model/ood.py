"""Out-of-distribution (OOD) scores: distinguish what a model knows from what it has never seen.

A recogniser has an answer to every photo, even of a cat. The scores are computed from its logits and embeddings
and are high for what it knows. `landmarks.model.calibration` chooses the threshold.

Pure numpy: inference and training share this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError, SettingsError, require_choice
from landmarks.geo.gazetteer import normalise
from landmarks.model.combination import Combination
from landmarks.model.probabilities import Floats, log_sum_exp, softmax
from landmarks.model.vectors import half, inner_products, packed, unit_length, unpacked

BACKGROUND = "background"
"""Class name reserved for images without a landmark; never a tag or a candidate."""

ScoreKind = Literal[
    "max_probability", "known_mass", "energy", "class_mean", "mahalanobis", "cosine_margin", "combined"
]
"""The OOD scores, see `ood_scores`."""

SPREAD_RANK = 64
"""Number of directions in which the shared covariance is stored; the others are assumed to have equal variance."""

SHRINKAGE = 0.1
"""Fraction of the mean variance mixed into the shared covariance, which few images estimate poorly."""

_TINY = 1e-12  # avoids log(0)


@dataclass(frozen=True, eq=False)
class EmbeddingStatistics:
    """Class means of the unit-length embeddings, and one covariance shared by all classes.

    The covariance is stored as its `R` widest directions and one variance for all others, the model of
    probabilistic PCA (Tipping and Bishop 1999, https://doi.org/10.1111/1467-9868.00196), so that it takes a
    hundredth of a full matrix in a model file.

    Attributes:
        means: (K, D), mean embedding of each class.
        factor: (R, D), directions, scaled so that the squared Mahalanobis distance of a difference `g` is
            `g @ g / noise - |factor @ g|^2`.
        noise: Variance in every other direction, above 0.

    Raises:
        SettingsError: The shapes do not fit, or `noise` is not above 0.
    """

    means: NDArray[np.float32]
    factor: NDArray[np.float32]
    noise: float

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or self.factor.ndim != 2 or self.means.shape[1] != self.factor.shape[1]:
            raise SettingsError(f"means {self.means.shape} and factor {self.factor.shape} do not fit")
        if not 0 < self.noise < np.inf:
            raise SettingsError(f"noise must be above 0, not {self.noise}")

    @classmethod
    def fit(cls, embeddings: Floats, labels: NDArray[np.integer[Any]], classes: int) -> EmbeddingStatistics:
        """Fit to the embeddings (N, D) of training images with `labels` (N,) of `classes` classes.

        Raises:
            DataError: A class has no embedding.
        """
        missing = sorted(set(range(classes)) - set(labels.tolist()))
        if missing:
            raise DataError(f"class {missing[0]} has no embedding to take a mean of")
        vectors = unit_length(embeddings, np.float64)
        means = np.stack([vectors[labels == label].mean(axis=0) for label in range(classes)])
        gaps = vectors - means[labels]
        covariance = gaps.T @ gaps / len(gaps)
        size = len(covariance)
        spread = max(float(np.trace(covariance)) / size, _TINY)
        widths, directions = np.linalg.eigh((1 - SHRINKAGE) * covariance + SHRINKAGE * spread * np.eye(size))
        rank = min(SPREAD_RANK, size - 1)
        noise = float(widths[: size - rank].mean())  # eigh returns the narrowest first
        wide, axes = widths[size - rank :], directions[:, size - rank :]
        factor = (axes * np.sqrt(np.maximum(0.0, 1 / noise - 1 / wide))).T
        return cls(half(means), half(factor), noise)

    def cosines(self, embeddings: Floats) -> NDArray[np.float64]:
        """Return the cosine of each embedding (N, D) to the direction of each class, (N, K)."""
        return inner_products(unit_length(embeddings, np.float64), self._directions)

    def distances(self, embeddings: Floats) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distance of each embedding (N, D) to the mean of each class, (N, K)."""
        vectors, (means, factor, projected) = unit_length(embeddings, np.float64), self._near
        plain = _squared_gaps(vectors, means) / self.noise
        within = _squared_gaps(inner_products(vectors, factor), projected)
        found: NDArray[np.float64] = np.maximum(0.0, plain - within)
        return found

    @cached_property
    def _directions(self) -> NDArray[np.float64]:
        return unit_length(self.means, np.float64)

    @cached_property
    def _near(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Means, factor and the means projected on the factor, cached in double precision for every batch."""
        means, factor = self.means.astype(np.float64), self.factor.astype(np.float64)
        return means, factor, means @ factor.T

    def to_dict(self) -> dict[str, Any]:
        """Return the values as stored in `model.json`: arrays as base64 of little-endian float16."""
        return {"means": _packed(self.means), "factor": _packed(self.factor), "noise": self.noise}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EmbeddingStatistics:
        """Create it from `to_dict` values; raises `KeyError`, `TypeError` or `ValueError` if they are damaged."""
        return cls(_unpacked(values["means"]), _unpacked(values["factor"]), float(values["noise"]))


def needs_statistics(score: ScoreKind) -> bool:
    """Return whether a score needs the statistics of the embeddings."""
    return score in {"class_mean", "mahalanobis"}


def is_landmark(classes: Sequence[str]) -> NDArray[np.bool_]:
    """Return for each class whether it is a landmark, that is, not the background class."""
    return np.array([normalise(name) != BACKGROUND for name in classes], dtype=bool)


def ood_scores(
    score: ScoreKind,
    logits: Floats,
    embeddings: Floats,
    *,
    known: NDArray[np.bool_],
    temperature: float = 1.0,
    statistics: EmbeddingStatistics | None = None,
    combination: Combination | None = None,
) -> NDArray[np.float64]:
    """Return the OOD score of each image, (N,): higher for what the model knows.

    `max_probability`: the largest probability of a landmark (Hendrycks and Gimpel 2017,
    https://arxiv.org/abs/1610.02136). `known_mass`: the log odds of everything but the background. `energy`: the
    log-sum-exp of the logits of the landmarks (Liu et al. 2020, https://arxiv.org/abs/2010.03759).
    `class_mean`: the cosine to the nearest class mean. `mahalanobis`: minus the squared Mahalanobis distance to
    the mean of the most likely landmark (Lee et al. 2018, https://arxiv.org/abs/1807.03888, take the nearest
    mean): head and embedding must agree, which benchmarks/results/unknown.md shows to work better. `combined`: see
    `landmarks.model.combination`.

    Args:
        score: The score to compute.
        logits: (N, K).
        embeddings: (N, D).
        known: (K,), from `is_landmark`.
        temperature: Temperature of the softmax and of the energy.
        statistics: Statistics of the training images, if the score needs them.
        combination: Weights and neighbours for the score `combined`.

    Raises:
        SettingsError: There is no such score, or it needs statistics or a combination and there is none.
    """
    require_choice("score", score, get_args(ScoreKind))
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    of_probabilities = scores_of_probabilities(score, softmax(scaled), known=known)
    if of_probabilities is not None:
        return of_probabilities
    if score == "cosine_margin":
        return _cosine_margin(np.asarray(logits, dtype=np.float64), known)
    if score == "energy":
        return temperature * log_sum_exp(scaled[:, known])
    if score == "combined":
        if combination is None:
            raise SettingsError("the score combined needs its weights and neighbours")
        return combination.scores(scaled, embeddings, known)
    if statistics is None:
        raise SettingsError(f"the score {score} needs the statistics of the embeddings")
    if score == "class_mean":
        nearest: NDArray[np.float64] = statistics.cosines(embeddings)[:, known].max(axis=1)
        return nearest
    likeliest = scaled[:, known].argmax(axis=1)
    of_likeliest: NDArray[np.float64] = statistics.distances(embeddings)[:, known][
        np.arange(len(scaled)), likeliest
    ]
    return -of_likeliest


def _cosine_margin(cosines: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the best cosine of a landmark plus its lead over the best other class, negative behind background."""
    rows = np.arange(len(cosines))
    best = np.where(known, cosines, -np.inf).argmax(axis=1)
    top = cosines[rows, best]
    others = cosines.copy()
    others[rows, best] = -np.inf
    found: NDArray[np.float64] = 2 * top - others.max(axis=1)
    return found


def scores_of_probabilities(
    score: ScoreKind, probabilities: Floats, *, known: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Return the scores if they follow from probabilities (N, K) alone, else None."""
    values = np.asarray(probabilities, dtype=np.float64)
    if score == "max_probability":
        largest: NDArray[np.float64] = values[:, known].max(axis=1)
        return largest
    if score == "known_mass":
        mass, rest = values[:, known].sum(axis=1), values[:, ~known].sum(axis=1)
        odds: NDArray[np.float64] = np.log(mass + _TINY) - np.log(rest + _TINY)
        return odds
    return None


def _squared_gaps(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1)[None]
    gaps: NDArray[np.float64] = squares - 2 * inner_products(left, right)
    return gaps


def _packed(array: NDArray[np.float32]) -> dict[str, Any]:
    return {"shape": list(array.shape), "float16": packed(array.astype("<f2"))}


def _unpacked(values: Mapping[str, Any]) -> NDArray[np.float32]:
    return unpacked(values["float16"], "<f2").astype(np.float32).reshape(values["shape"])
