"""A space in which the embeddings of a model are compared.

Cosines of raw embeddings are dominated by directions in which photos of the same landmark differ too. A whitening
learned on the training photos scales these down and leaves a few hundred dimensions.
benchmarks/results/retrieval.md compares it with raw embeddings and with PCA whitening, which ignores classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError
from landmarks.model.vectors import half, inner_products, unit_length, within_class

DIMENSIONS = 256
"""Dimensions of the vectors: a fifth of those of EfficientNet-Lite0."""

SHRINKAGE = 0.3
"""A small value is best for landmarks in the training photos, a large one for all others; see `whitened_space`."""

Floats = NDArray[np.floating[Any]]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class EmbeddingSpace:
    """A linear map from the embeddings of a model to vectors whose inner product is the similarity of two photos.

    Attributes:
        mean: (D,), subtracted from the unit-length embeddings.
        projection: (D, d), applied after that.
    """

    mean: Vectors
    projection: Vectors

    def vectors(self, embeddings: Floats) -> Vectors:
        """Map embeddings (N, D) to vectors (N, d) of unit length."""
        mapped = inner_products(unit_length(embeddings, np.float32) - self.mean, self._rows)
        return unit_length(mapped, np.float32)

    @cached_property
    def _rows(self) -> Vectors:
        return np.ascontiguousarray(self.projection.T)


def plain_space(size: int) -> EmbeddingSpace:
    """Return the space that only scales embeddings of `size` dimensions to unit length."""
    return EmbeddingSpace(np.zeros(size, dtype=np.float32), np.eye(size, dtype=np.float32))


def whitened_space(
    embeddings: Floats,
    labels: NDArray[np.integer[Any]],
    dimensions: int = DIMENSIONS,
) -> EmbeddingSpace:
    """Learn the discriminative whitening of embeddings.

    The directions in which photos of one landmark differ are scaled to equal variance; then the directions with
    the largest total variance are kept (Mikolajczyk and Matas, "Improving descriptors for fast tree
    matching by optimal linear projection", ICCV 2007; Radenovic, Tolias and Chum, TPAMI 2018,
    https://arxiv.org/abs/1711.02512).

    Args:
        embeddings: (N, D), of training photos.
        labels: (N,), their classes.
        dimensions: Dimensions of the vectors; fewer if the photos vary in fewer directions.

    Raises:
        DataError: There are fewer than two photos.
    """
    if len(embeddings) < 2:
        raise DataError(f"{len(embeddings)} photos are too few to learn a whitening from: give two or more")
    values = unit_length(embeddings, np.float32).astype(np.float64)
    _, covariance = within_class(values, labels)
    level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    variances, directions = np.linalg.eigh(
        (1 - SHRINKAGE) * covariance + SHRINKAGE * level * np.eye(len(covariance))
    )
    whitening = directions / np.sqrt(variances)
    mean = values.mean(axis=0)
    centred = (values - mean) @ whitening
    spread, axes = np.linalg.eigh(centred.T @ centred / len(values))
    kept = np.argsort(-spread)[: min(dimensions, len(values) - 1)]
    # The file stores float16; the rounding error is far below the difference between two photos.
    return EmbeddingSpace(half(mean), half(whitening @ axes[:, kept] * math.sqrt(level)))
