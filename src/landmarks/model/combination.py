"""The score `combined`, from the head and the neighbours: log odds that the most likely landmark is correct.

No single score is best: the head is wrong about what it never saw, and neighbours confuse what only looks similar.
A logistic regression over both (Platt 1999, with more than one input) is fitted on photos of known landmarks that
the network was not trained on, and on photos that must get no tag. benchmarks/results/open_world.md compares it
with each of its parts.

Pure numpy: inference and training share this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError, SettingsError
from landmarks.model.neighbours import Neighbours
from landmarks.model.probabilities import Floats, log_sum_exp

EVIDENCE = ("odds", "mass", "own", "other", "background")
"""The inputs, see `evidence_of`."""

_CLIP = 30.0  # log odds beyond which nothing changes
_BLOCK = 10_000_000  # logits that are looked at together
_RIDGE = 1e-2  # on the standardised weights, which a few photos determine poorly


@dataclass(frozen=True, eq=False)
class Combination:
    """Weights of the evidence, and the neighbours that part of it comes from.

    Attributes:
        weights: One for each of `EVIDENCE`.
        bias: Added to the weighted sum.
        neighbours: Stored photos.

    Raises:
        SettingsError: The number of weights is wrong, or one is not finite.
    """

    weights: tuple[float, ...]
    bias: float
    neighbours: Neighbours

    def __post_init__(self) -> None:
        if len(self.weights) != len(EVIDENCE) or not all(map(math.isfinite, (*self.weights, self.bias))):
            raise SettingsError(f"the weights of the evidence must be {len(EVIDENCE)} numbers and a bias")

    def scores(self, logits: Floats, embeddings: Floats, known: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the log odds (N,) that the most likely landmark of each photo is correct; see `evidence_of`."""
        found: NDArray[np.float64] = (
            evidence_of(logits, embeddings, known, self.neighbours) @ np.array(self.weights) + self.bias
        )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the values as stored in `model.json`."""
        weights = dict(zip(EVIDENCE, self.weights, strict=True))
        return {"weights": weights, "bias": self.bias, "neighbours": self.neighbours.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Combination:
        """Create it from `to_dict` values; raises `KeyError`, `TypeError` or `ValueError` if they are damaged."""
        weights = tuple(float(values["weights"][name]) for name in EVIDENCE)
        return cls(weights, float(values["bias"]), Neighbours.from_dict(values["neighbours"]))


def evidence_of(
    logits: Floats, embeddings: Floats, known: NDArray[np.bool_], neighbours: Neighbours
) -> NDArray[np.float64]:
    """Return the evidence for the most likely landmark of each photo, (N, `EVIDENCE`).

    `odds`: the log odds of its probability. `mass`: the log odds of all landmarks against the background; 0 if
    the model has no background class. `own`, `other`, `background`: the mean cosine to the nearest photos of that
    landmark, of any other, and of the background.

    Args:
        logits: (N, K), divided by the temperature.
        embeddings: (N, D).
        known: (K,), from `landmarks.model.ood.is_landmark`.
        neighbours: Stored photos; their classes are the landmarks, in the order of the logits.
    """
    rows = max(1, _BLOCK // len(known))
    if len(logits) > rows:  # several copies in 64 bits would need memory by photos times classes
        blocks = [slice(start, start + rows) for start in range(0, len(logits), rows)]
        return np.concatenate([evidence_of(logits[b], embeddings[b], known, neighbours) for b in blocks])
    values = np.asarray(logits, dtype=np.float64)
    landmarks = values[:, known]
    likeliest = landmarks.argmax(axis=1)
    largest = landmarks[np.arange(len(values)), likeliest]
    rest = values.copy()
    rest[np.arange(len(values)), np.flatnonzero(known)[likeliest]] = -np.inf
    odds = largest - log_sum_exp(rest)
    mass = np.zeros(len(values)) if known.all() else log_sum_exp(landmarks) - log_sum_exp(values[:, ~known])
    close = neighbours.closeness(embeddings, likeliest)
    columns = [
        np.clip(odds, -_CLIP, _CLIP),
        np.clip(mass, -_CLIP, _CLIP),
        close.own,
        close.other,
        close.background,
    ]
    return np.stack(columns, axis=1)


def fit_weights(
    evidence: NDArray[np.float64], right: NDArray[np.bool_], shares: NDArray[np.float64]
) -> tuple[tuple[float, ...], float]:
    """Fit the weights and the bias by logistic regression (Newton's method, with a small ridge).

    Args:
        evidence: (N, `EVIDENCE`).
        right: (N,), whether the most likely landmark is correct; False for photos that must get no tag.
        shares: (N,), sample weights; groups of very different size should have equal totals.

    Raises:
        DataError: All are correct or all are wrong.
    """
    if right.all() or not right.any():
        raise DataError("photos of known landmarks and of others are needed: give both")
    counts = shares / shares.sum()
    middle = counts @ evidence
    spread = np.sqrt(counts @ (evidence - middle) ** 2)
    spread[spread < 1e-9] = 1.0  # constant, so its weight stays 0
    inputs = np.concatenate([(evidence - middle) / spread, np.ones((len(evidence), 1))], axis=1)
    ridge = np.diag([*np.full(evidence.shape[1], _RIDGE / 2), 1e-9])
    solution = np.zeros(inputs.shape[1])
    for _ in range(50):
        chances = 1 / (1 + np.exp(-np.clip(inputs @ solution, -_CLIP, _CLIP)))
        slope = inputs.T @ (counts * (chances - right)) + ridge @ solution
        curvature = (inputs * (counts * np.maximum(chances * (1 - chances), 1e-6))[:, None]).T @ inputs + ridge
        step = np.linalg.solve(curvature, slope)
        solution = solution - step * min(1.0, 5.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-8:
            break
    weights = solution[:-1] / spread
    return tuple(weights.tolist()), float(solution[-1] - weights @ middle)
