"""Which landmark taught from a few photos a picture shows: two scores, and the thresholds they must reach.

A landmark is the mean of its photos' vectors, its prototype (Snell, Swersky and Zemel, "Prototypical networks for
few-shot learning", NeurIPS 2017, https://arxiv.org/abs/1703.05175, with the cosine as in Chen et al., "A closer
look at few-shot classification", ICLR 2019, https://arxiv.org/abs/1904.04232). A picture is told by

- its *height*: its cosine to the prototype less its mean cosine to the `COHORT` nearest photos of no landmark, so
  that a picture that is like everything must come nearer. Speaker verification does the same (adaptive T-norm:
  Sturim and Reynolds, ICASSP 2005);
- its *margin*: the same cosine less `RIVAL_WEIGHT` of that to the nearest mean of a class that the model was
  trained on, so that what the model knew before is not lost. Five photos give a worse mean than a whole class and
  hence lower cosines, which the weight makes up for.

Thresholds come from the model's reference: heights from its photos of no landmark, for all taught landmarks at
once; margins from its photos of each class. benchmarks/enroll.py chose the numbers below and measures the rule.
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
"""Share of photos of no landmark that may get the tag of any taught landmark, however many there are."""

KNOWN_RATE = 0.004
"""Share of the reference's photos of known classes that may have the margin one landmark asks for."""

CLEARANCE = 0.04
"""The least margin that is asked for."""

RIVAL_WEIGHT = 0.7
COHORT = 20

_SPREAD = 0.05  # the least, where all photos look alike

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Taught:
    """What a landmark was taught from.

    Attributes:
        vectors: (n, d) of photos that show it, of unit length, one or more.
        rejected: (m, d) of photos that do not, though it was said of them.
        known: Place of the class that is the same landmark among those of the reference, or None: it is no rival.
    """

    vectors: Vectors
    rejected: Vectors
    known: int | None = None

    @property
    def prototype(self) -> Vectors:
        """The mean direction of its photos, (d,)."""
        direction: Vectors = unit_length(self.vectors.mean(axis=0, keepdims=True), np.float32)[0]
        return direction


class PrototypeRule:
    """The rule for the landmarks that a model was taught, thresholds and all.

    Args:
        reference: Of the model.
        taught: L landmarks, one or more.

    Attributes:
        heights: (L,) that a picture must reach.
        margins: (L,) that a picture must reach.
        spreads: (L,), how far above what is asked a picture is as good as certain, above 0.

    Raises:
        DataError: The reference has too few photos of no landmark for the promised rate.
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
        """Return the cosine of each of (N, d) vectors to each prototype, (N, L).

        It is -1 where a vector is nearer to a photo that was rejected than to any that was taught.
        """
        found = (vectors @ self._prototypes.T).astype(np.float64)
        for number, one in enumerate(self._taught):
            if len(one.rejected):
                denied = (vectors @ one.rejected.T).max(axis=1) > (vectors @ one.vectors.T).max(axis=1)
                found[denied, number] = -1.0
        return found

    def excess(self, vectors: Vectors) -> Scores:
        """Return by how much each of (N, d) vectors passes what each landmark asks, (N, L): below 0 it fails."""
        similar = self.similarities(vectors)
        heights = similar - self._background(vectors)[:, None]
        margins = similar - RIVAL_WEIGHT * self._rivals(vectors @ self._means.T)
        excess: Scores = np.minimum(heights - self.heights, margins - self.margins)
        return excess

    def reached(self, number: int, prototype: Vectors, vectors: Vectors) -> NDArray[np.bool_]:
        """Tell which of (N, d) vectors have the height that a landmark asks, for another prototype (d,) of it."""
        found: NDArray[np.bool_] = vectors @ prototype - self._background(vectors) >= self.heights[number]
        return found

    def _choose_heights(self) -> Scores:
        """Choose heights that about `TARGET_FPR` of photos of no landmark reach, all landmarks together.

        The scores of each landmark are scaled by their mean and deviation over these photos (Z-norm), and one
        threshold is chosen on the largest, so that a landmark taught from odd photos raises its own height more
        than that of others. This is no split conformal bound: mean, deviation, cohort and threshold come from the
        same photos, so the rate is an estimate (benchmarks/results/enroll.md measures it).
        """
        negatives = self._negatives
        similar = self.similarities(negatives)
        heights = similar - self._background(negatives, inside=True)[:, None]
        mean, deviation = heights.mean(axis=0), np.maximum(heights.std(axis=0), 1e-6)
        margins = similar - RIVAL_WEIGHT * self._rivals(negatives @ self._means.T)
        scaled = np.where(margins >= self.margins, (heights - mean) / deviation, -np.inf)
        threshold = choose_threshold(scaled.max(axis=1), TARGET_FPR)
        # Where few photos have the margin at all, an average one must still not do.
        chosen: Scores = mean + max(threshold, 0.0) * deviation
        return chosen

    def _choose_margins(self, reference: Reference) -> Scores:
        labels = np.unique(reference.labels, return_inverse=True)[1]
        vectors = reference.vectors
        cosines = (vectors @ self._means.T).astype(np.float64)
        # A photo is part of its class's mean, which would flatter it: it is compared with that of the others.
        sums = np.stack([vectors[labels == label].sum(axis=0) for label in range(len(self._means))])
        cosines[np.arange(len(vectors)), labels] = (unit_length(sums[labels] - vectors, np.float32) * vectors).sum(
            axis=1
        )
        margins = self.similarities(vectors) - RIVAL_WEIGHT * self._rivals(cosines)
        chosen = np.full(len(self._taught), CLEARANCE)
        for number, one in enumerate(self._taught):
            rivals = margins[labels != one.known, number] if one.known is not None else margins[:, number]
            if len(rivals):
                rate = max(KNOWN_RATE, 1.001 / (len(rivals) + 1))  # of few photos none may have it
                chosen[number] = max(CLEARANCE, choose_threshold(rivals, rate))
        return chosen

    def _background(self, vectors: Vectors, *, inside: bool = False) -> Scores:
        """Return the mean cosine to the nearest photos of no landmark, (N,); `inside`: the vectors are these."""
        cosines = (vectors @ self._negatives.T).astype(np.float64)
        if inside:
            np.fill_diagonal(cosines, -np.inf)
        count = min(COHORT, len(self._negatives) - inside)
        nearest: Scores = np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1)
        return nearest

    def _rivals(self, cosines: NDArray[np.floating]) -> Scores:
        """Return the largest cosine to the mean of a class that is not the landmark itself, (N, L), of (N, K)."""
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
    """Return how sure it is: one half where a picture just passes, 95 % one spread above, 5 % one below."""
    return 1 / (1 + math.exp(-math.log(19) * max(-30.0, min(30.0, excess / spread))))
