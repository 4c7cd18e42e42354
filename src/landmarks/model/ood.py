"""Scores that tell what a model knows from what it has never seen.

A recogniser has an answer to every photo, also to one of a cat. Here its logits and embeddings become a score that
is high for what it knows. `landmarks.model.calibration` chooses the threshold.

Pure numpy: what uses a model and what trains one share this module.
"""

from __future__ import annotations

import base64
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

BACKGROUND = "background"
"""The class name that is reserved for pictures without a landmark; it is never a tag and never a candidate."""

ScoreKind = Literal[
    "max_probability", "known_mass", "energy", "class_mean", "mahalanobis", "cosine_margin", "combined"
]
"""Ways to tell the known from the unknown, see `ood_scores`."""

SPREAD_RANK = 64
"""Directions in which the common spread is kept; the others are taken as equally wide."""

SHRINKAGE = 0.1
"""Share of the mean variance that is mixed into the common spread, which few pictures estimate badly."""

_TINY = 1e-12  # keeps logarithms finite


@dataclass(frozen=True, eq=False)
class EmbeddingStatistics:
    """Where the classes lie among the embeddings of unit length, and how far their pictures spread around them.

    The spread is one covariance for all classes. It is kept as its `R` widest directions and one variance for all
    others, the model of probabilistic principal components (Tipping and Bishop 1999,
    https://doi.org/10.1111/1467-9868.00196), so that it takes a hundredth of a full matrix in a model file.

    Attributes:
        means: (K, D) mean embedding of each class.
        factor: (R, D) directions, scaled so that the squared Mahalanobis distance of a gap `g` is
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
        """Measure the embeddings (N, D) of training pictures with `labels` (N,) of `classes` classes.

        Raises:
            DataError: A class has no embedding.
        """
        missing = sorted(set(range(classes)) - set(labels.tolist()))
        if missing:
            raise DataError(f"class {missing[0]} has no embedding to take a mean of")
        vectors = unit_length(embeddings)
        means = np.stack([vectors[labels == label].mean(axis=0) for label in range(classes)])
        gaps = vectors - means[labels]
        covariance = gaps.T @ gaps / len(gaps)
        size = len(covariance)
        spread = max(float(np.trace(covariance)) / size, _TINY)
        widths, directions = np.linalg.eigh((1 - SHRINKAGE) * covariance + SHRINKAGE * spread * np.eye(size))
        rank = min(SPREAD_RANK, size - 1)
        noise = float(widths[: size - rank].mean())  # eigh gives the narrowest first
        wide, axes = widths[size - rank :], directions[:, size - rank :]
        factor = (axes * np.sqrt(np.maximum(0.0, 1 / noise - 1 / wide))).T
        return cls(_halved(means), _halved(factor), noise)

    def cosines(self, embeddings: Floats) -> NDArray[np.float64]:
        """Return the cosine of each embedding (N, D) to the direction of each class, (N, K)."""
        product: NDArray[np.float64] = unit_length(embeddings) @ self._directions.T
        return product

    def distances(self, embeddings: Floats) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distance of each embedding (N, D) to the mean of each class, (N, K)."""
        vectors, (means, factor, projected) = unit_length(embeddings), self._near
        plain = _squared_gaps(vectors, means) / self.noise
        within = _squared_gaps(vectors @ factor.T, projected)
        found: NDArray[np.float64] = np.maximum(0.0, plain - within)
        return found

    @cached_property
    def _directions(self) -> NDArray[np.float64]:
        return unit_length(self.means)

    @cached_property
    def _near(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Means, factor and the means along the factor, which every batch needs in double precision."""
        means, factor = self.means.astype(np.float64), self.factor.astype(np.float64)
        return means, factor, means @ factor.T

    def to_dict(self) -> dict[str, Any]:
        """Return the values as they stand in `model.json`: arrays as base64 of little-endian float16."""
        return {"means": _packed(self.means), "factor": _packed(self.factor), "noise": self.noise}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EmbeddingStatistics:
        """Read back what `to_dict` gave; raises `KeyError`, `TypeError` or `ValueError` where it is damaged."""
        return cls(_unpacked(values["means"]), _unpacked(values["factor"]), float(values["noise"]))


def needs_statistics(score: ScoreKind) -> bool:
    """Tell whether a score looks at the embedding."""
    return score in {"class_mean", "mahalanobis"}


def is_landmark(classes: Sequence[str]) -> NDArray[np.bool_]:
    """Return, for each class, whether it is one that may be said: all but the background class."""
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
    """Return how well each picture is known, (N,): higher is better known.

    `max_probability`: the largest probability of a landmark (Hendrycks and Gimpel 2017,
    https://arxiv.org/abs/1610.02136). `known_mass`: the log odds of all that is not background. `energy`: the
    log-sum-exp of the logits of the landmarks (Liu et al. 2020, https://arxiv.org/abs/2010.03759).
    `class_mean`: the cosine to the nearest class mean. `mahalanobis`: minus the squared distance to the mean of
    the likeliest landmark, in units of the common spread (Lee et al. 2018, https://arxiv.org/abs/1807.03888,
    take the nearest mean): head and embedding must agree, and benchmarks/results/unknown.md shows that it tells
    more. `combined`: see `landmarks.model.combination`.

    Args:
        score: Which one.
        logits: (N, K).
        embeddings: (N, D).
        known: (K,), from `is_landmark`.
        temperature: Of the softmax and of the energy.
        statistics: Of the training pictures, where the score needs them.
        combination: For the score `combined`.

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
    """The best cosine of a landmark plus its lead over the best other class, negative behind background."""
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
    """Return the scores that follow from probabilities (N, K) alone, or None where a score needs more."""
    values = np.asarray(probabilities, dtype=np.float64)
    if score == "max_probability":
        largest: NDArray[np.float64] = values[:, known].max(axis=1)
        return largest
    if score == "known_mass":
        mass, rest = values[:, known].sum(axis=1), values[:, ~known].sum(axis=1)
        odds: NDArray[np.float64] = np.log(mass + _TINY) - np.log(rest + _TINY)
        return odds
    return None


def unit_length(vectors: Floats) -> NDArray[np.float64]:
    """Return vectors (N, D) scaled to length 1; a zero vector stays."""
    values = np.asarray(vectors, dtype=np.float64)
    scaled: NDArray[np.float64] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), _TINY)
    return scaled


def _squared_gaps(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1)[None]
    gaps: NDArray[np.float64] = squares - 2 * left @ right.T
    return gaps


def _halved(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to what a model file keeps, so that thresholds are chosen on the very numbers that are read back."""
    return values.astype(np.float16).astype(np.float32)


def _packed(array: NDArray[np.float32]) -> dict[str, Any]:
    return {"shape": list(array.shape), "float16": base64.b64encode(array.astype("<f2").tobytes()).decode()}


def _unpacked(values: Mapping[str, Any]) -> NDArray[np.float32]:
    flat = np.frombuffer(base64.b64decode(values["float16"], validate=True), dtype="<f2")
    return flat.astype(np.float32).reshape(values["shape"])
