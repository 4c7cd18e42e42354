"""Vector helpers shared by scores, few-shot learning and search. Pure numpy."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)

_TINY = 1e-12


def unit_length(rows: NDArray[np.floating[Any]], dtype: type[Float]) -> NDArray[Float]:
    """Return the rows of (N, D) scaled to unit length, as `dtype`; a zero row is unchanged."""
    values = np.asarray(rows, dtype=dtype)
    scaled: NDArray[Float] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), dtype(_TINY))
    return scaled


def within_class(
    values: NDArray[np.float64], labels: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of each class that occurs, (K, D), and the within-class covariance, (D, D).

    Args:
        values: (N, D).
        labels: (N,), the classes.
    """
    classes, places = np.unique(labels, return_inverse=True)
    means = np.stack([values[places == place].mean(axis=0) for place in range(len(classes))])
    around = values - means[places]
    covariance: NDArray[np.float64] = around.T @ around / len(values)
    return means, covariance
