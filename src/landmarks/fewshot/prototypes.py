"""Recognises landmarks taught from a few photos: two scores, and the thresholds they must reach.

A landmark's prototype is the mean of its photos' vectors (Snell, Swersky and Zemel, "Prototypical
networks for few-shot learning", NeurIPS 2017, https://arxiv.org/abs/1703.05175; with the cosine as in Chen et al.,
"A closer look at few-shot classification", ICLR 2019, https://arxiv.org/abs/1904.04232). A photo is judged by

- its *height*: its cosine to the prototype minus its mean cosine to the `COHORT` nearest photos without a
  landmark, so that a photo similar to everything must be closer. Speaker verification does the same (adaptive
  T-norm: Sturim and Reynolds, ICASSP 2005);
- its *margin*: the same cosine minus `RIVAL_WEIGHT` times that to the nearest mean of a class that the model was
  trained on, so that these classes are not forgotten. The mean of five photos is worse than that of a whole class,
  so cosines to it are lower, which the weight makes up for.

Thresholds come from the model's reference: heights from its photos without a landmark, for all taught landmarks at
once; margins from its photos of each class. benchmarks/enroll.py chose the constants below and measures the rule.
Pure numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmarks.fewshot.reference import Reference
from landmarks.model.calibration import choose_threshold
from landmarks.model.embedding_space import Vectors
from landmarks.model.vectors import unit_length

TARGET_FPR = 0.01
"""Target false-positive rate: fraction of photos without a landmark that may get any taught tag."""

KNOWN_RATE = 0.004
"""Fraction of the reference's photos of known classes that may reach the margin of one landmark."""

CLEARANCE = 0.04
"""Smallest margin that a landmark may require."""

RIVAL_WEIGHT = 0.7
COHORT = 20

_SPREAD = 0.05  # minimum, for photos that all look alike

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Taught:
    """The photos that a landmark was taught from.

    Attributes:
        vectors: (n, d), n >= 1, unit vectors of photos that show it.
        rejected: (m, d), unit vectors of photos that were wrongly tagged with it.
        known: Index of the reference class that is the same landmark and hence no rival, or None.
    """

    vectors: Vectors
    rejected: Vectors
    known: int | None = None

    @property
    def prototype(self) -> Vectors:
        """Mean direction of its photos, (d,)."""
        direction: Vectors = unit_length(self.vectors.mean(axis=0, keepdims=True), np.float32)[0]
        return direction


class PrototypeRule:
    """The rule that recognises taught landmarks, with its thresholds.

    Args:
        reference: Reference of the model.
        taught: L landmarks, L >= 1.

    Attributes:
        heights: (L,), minimum heights.
        margins: (L,), minimum margins.
        spreads: (L,), excess over the thresholds at which a photo is 95 % certain, above 0.

    Raises:
        DataError: The reference has too few photos without a landmark for the target false-positive rate.
    """

    def __init__(self, reference: Reference, taught: Sequence[Taught]) -> None:
        self._taught = tuple(taught)
        self._prototypes = np.stack([one.prototype for one in taught])
        self._negatives = reference.negatives
        self._means = class_means(reference)
        self.margins = self._choose_margins(reference)
        self.heights = self._choose_heights()
        own = [float(self.excess(one.vectors)[:, number].mean()) for number, one in enumerate(self._taught)]
        self.spreads: Scores = np.maximum(_SPREAD, np.array(own) / 2)

    def similarities(self, vectors: Vectors) -> Scores:
        """Return the cosines of (N, d) vectors to the prototypes, (N, L).

        A cosine is -1 if the vector is nearer to a rejected photo than to any taught one.
        """
        found = (vectors @ self._prototypes.T).astype(np.float64)
        for number, one in enumerate(self._taught):
            if len(one.rejected):
                denied = (vectors @ one.rejected.T).max(axis=1) > (vectors @ one.vectors.T).max(axis=1)
                found[denied, number] = -1.0
        return found

    def excess(self, vectors: Vectors) -> Scores:
        """Return by how much (N, d) vectors exceed the thresholds of each landmark, (N, L); below 0 they fail."""
        similar = self.similarities(vectors)
        heights = similar - self._background(vectors)[:, None]
        margins = similar - RIVAL_WEIGHT * self._rivals(vectors @ self._means.T)
        excess: Scores = np.minimum(heights - self.heights, margins - self.margins)
        return excess

    def reached(self, number: int, prototype: Vectors, vectors: Vectors) -> NDArray[np.bool_]:
        """Return which of (N, d) vectors reach the height of a landmark if its prototype is another one, (d,)."""
        found: NDArray[np.bool_] = vectors @ prototype - self._background(vectors) >= self.heights[number]
        return found

    def _choose_heights(self) -> Scores:
        """Choose heights that about `TARGET_FPR` of photos without a landmark reach, over all landmarks together.

        The scores of each landmark are standardised by their mean and deviation over these photos (Z-norm), and
        one threshold is chosen on the maximum, so that a landmark taught from odd photos raises its own height
        more than that of others. This is not a split conformal bound: mean, deviation, cohort and threshold come
        from the same photos, so the rate is an estimate (benchmarks/results/enroll.md measures it).
        """
        negatives = self._negatives
        similar = self.similarities(negatives)
        heights = similar - self._background(negatives, inside=True)[:, None]
        mean, deviation = heights.mean(axis=0), np.maximum(heights.std(axis=0), 1e-6)
        margins = similar - RIVAL_WEIGHT * self._rivals(negatives @ self._means.T)
        scaled = np.where(margins >= self.margins, (heights - mean) / deviation, -np.inf)
        threshold = choose_threshold(scaled.max(axis=1), TARGET_FPR)
        # Even if few photos reach the margin at all, an average one must not pass.
        chosen: Scores = mean + max(threshold, 0.0) * deviation
        return chosen

    def _choose_margins(self, reference: Reference) -> Scores:
        labels = np.unique(reference.labels, return_inverse=True)[1]
        vectors = reference.vectors
        cosines = (vectors @ self._means.T).astype(np.float64)
        # Leave-one-out: a photo is part of its class's mean, which would flatter it.
        sums = np.stack([vectors[labels == label].sum(axis=0) for label in range(len(self._means))])
        cosines[np.arange(len(vectors)), labels] = (unit_length(sums[labels] - vectors, np.float32) * vectors).sum(
            axis=1
        )
        margins = self.similarities(vectors) - RIVAL_WEIGHT * self._rivals(cosines)
        chosen = np.full(len(self._taught), CLEARANCE)
        for number, one in enumerate(self._taught):
            rivals = margins[labels != one.known, number] if one.known is not None else margins[:, number]
            if len(rivals):
                rate = max(KNOWN_RATE, 1.001 / (len(rivals) + 1))  # of only a few photos, none may reach it
                chosen[number] = max(CLEARANCE, choose_threshold(rivals, rate))
        return chosen

    def _background(self, vectors: Vectors, *, inside: bool = False) -> Scores:
        """Return the mean cosine to the nearest negatives, (N,); `inside`: the vectors are the negatives."""
        cosines = (vectors @ self._negatives.T).astype(np.float64)
        if inside:
            np.fill_diagonal(cosines, -np.inf)
        count = min(COHORT, len(self._negatives) - inside)
        nearest: Scores = np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1)
        return nearest

    def _rivals(self, cosines: NDArray[np.floating]) -> Scores:
        """Reduce cosines to class means, (N, K), to the largest of a class other than the landmark, (N, L)."""
        largest = np.empty((len(cosines), len(self._taught)))
        for number, one in enumerate(self._taught):
            others = cosines if one.known is None else np.delete(cosines, one.known, axis=1)
            largest[:, number] = others.max(axis=1, initial=-1.0)
        return largest


def class_means(reference: Reference) -> Vectors:
    """Return the mean directions of the classes of a reference, (K, d), in the order of their labels."""
    labels = np.unique(reference.labels)
    means = [reference.vectors[reference.labels == label].mean(axis=0) for label in labels]
    return unit_length(np.stack(means), np.float32)


def chance(excess: float, spread: float) -> float:
    """Return an estimated probability: 50 % if a photo just passes, 95 % one spread above, 5 % one below."""
    return 1 / (1 + math.exp(-math.log(19) * max(-30.0, min(30.0, excess / spread))))
