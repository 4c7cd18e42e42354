"""What metrics need of the predictions of a network, without keeping a probability per image and class.

For 81,000 classes and as many images the probabilities are 26 GB; an `Outcomes` of them is 3 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The predictions for N images, each compared with the true class.

    Attributes:
        labels: (N,), true class of each image.
        predicted: (N,), its most probable class; of equally probable ones the first.
        confidence: (N,), probability of the predicted class, at most 1.
        of_truth: (N,), probability of the true class.
        ranks: (N,), number of classes that rank before the true one.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    of_truth: NDArray[np.float64]
    ranks: NDArray[np.int64]

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> Self:
        """Compare probabilities (N, K) with labels (N,).

        Raises:
            DataError: A probability or a label is out of range.
        """
        classes = probabilities.shape[1]
        if labels.dtype.kind not in "iu" or (len(labels) and not 0 <= labels.min() <= labels.max() < classes):
            raise DataError(f"labels must be whole numbers from 0 to {classes - 1}")
        # The comparisons are false for NaN, so a diverged network is caught here too.
        in_range = (probabilities >= 0) & (probabilities <= 1 + 1e-3)
        sums = probabilities.sum(axis=1, dtype=np.float64)
        if not (in_range.all() and np.all(np.abs(sums - 1) <= 1e-2)):
            raise DataError("probabilities must lie in [0, 1] and each row must have the sum 1")
        truth = labels.astype(np.int64)[:, None]
        of_truth = np.take_along_axis(probabilities, truth, axis=1)
        before = np.arange(classes) < truth
        ranks = ((probabilities > of_truth) | ((probabilities == of_truth) & before)).sum(axis=1)
        return cls(
            labels=truth[:, 0],
            predicted=probabilities.argmax(axis=1).astype(np.int64),
            confidence=np.minimum(probabilities.max(axis=1).astype(np.float64), 1.0),
            of_truth=of_truth[:, 0].astype(np.float64),
            ranks=ranks.astype(np.int64),
        )

    @classmethod
    def joined(cls, parts: Iterable[Outcomes]) -> Self:
        """Return the outcomes of several batches as one, in their order."""
        names = ("labels", "predicted", "confidence", "of_truth", "ranks")
        columns = zip(*([getattr(part, name) for name in names] for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each prediction is correct, (N,)."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a network for N images of K classes, and the true classes.

    Attributes:
        probabilities: Shape (N, K), each row in [0, 1] with sum 1.
        labels: Shape (N,), the index of the right class, in [0, K).
        class_names: K different names, in the order of the columns.
        paths: N image files.
        sources: N names of sources, or None without a manifest.

    Raises:
        DataError: A shape, an index or a probability does not fit.
    """

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    paths: tuple[Path, ...]
    sources: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        require_fit(len(self.labels), self.class_names, self.paths, self.sources)
        shape = (len(self.paths), len(self.class_names))
        if self.probabilities.shape != shape:
            raise DataError(
                f"probabilities of shape {self.probabilities.shape} and labels of shape {self.labels.shape} "
                f"do not fit {shape[0]} pictures and {shape[1]} classes"
            )
        _ = self.outcomes

    @property
    def outcomes(self) -> Outcomes:
        """The same without the probabilities."""
        return Outcomes.of(self.probabilities, self.labels)


def require_fit(count: int, names: Sequence[str], paths: Sequence[Path], sources: Sequence[str] | None) -> None:
    """Refuse names, paths and sources that do not fit `count` predictions; raises `DataError`."""
    if not paths:
        raise DataError("no prediction to evaluate: check that the data folder holds pictures")
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"{len(names)} class names: at least two are needed and no two may be the same")
    if count != len(paths):
        raise DataError(f"{count} predictions do not fit {len(paths)} pictures")
    if sources is not None and len(sources) != count:
        raise DataError(f"{len(sources)} sources do not fit {count} pictures")
