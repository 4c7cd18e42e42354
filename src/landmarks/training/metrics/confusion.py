"""A confusion matrix without its zeros: at most as many pairs of classes occur as there are images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often which class was predicted for which: the P pairs that occur, by true, then predicted class.

    Attributes:
        classes: Number of classes K.
        true: (P,), true class of each pair, in [0, K).
        predicted: (P,), predicted class.
        counts: (P,), number of images, at least 1.
    """

    classes: int
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int) -> Self:
        """Count the pairs of N images: labels (N,) and predicted classes (N,), each in [0, `classes`)."""
        keys = labels.astype(np.int64) * classes + predicted
        pairs, counts = np.unique(keys, return_counts=True)
        true, guesses = np.divmod(pairs, classes)
        return cls(classes, true, guesses, counts.astype(np.int64))

    @property
    def hits(self) -> NDArray[np.int64]:
        """Number of images of each class that were recognised, (K,)."""
        right = self.true == self.predicted
        return self._sums(self.true[right], self.counts[right])

    @property
    def support(self) -> NDArray[np.int64]:
        """Number of images of each class, (K,)."""
        return self._sums(self.true, self.counts)

    @property
    def claimed(self) -> NDArray[np.int64]:
        """Number of images for which each class was predicted, (K,)."""
        return self._sums(self.predicted, self.counts)

    def mistakes(self) -> Iterator[tuple[int, int, int]]:
        """Yield (true class, predicted class, images) of each pair of different classes, most images first."""
        wrong = np.flatnonzero(self.true != self.predicted)
        for place in wrong[np.argsort(-self.counts[wrong], kind="stable")]:
            yield int(self.true[place]), int(self.predicted[place]), int(self.counts[place])

    def table(self) -> NDArray[np.int64]:
        """Return the whole matrix (K, K): 8 K^2 bytes, so only for few classes."""
        full = np.zeros((self.classes, self.classes), dtype=np.int64)
        full[self.true, self.predicted] = self.counts
        return full

    def _sums(self, of_class: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(of_class, weights=counts, minlength=self.classes).astype(np.int64)
