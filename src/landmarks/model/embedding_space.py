"""A space in which the embeddings of a model are compared.

Cosines of raw embeddings are dominated by directions in which photos of the same landmark differ too. A whitening
that is learnt on the training photos takes these down and leaves a few hundred dimensions.
benchmarks/results/retrieval.md compares it with raw embeddings and with PCA whitening, which knows no classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError
from landmarks.model.vectors import unit_length, within_class

DIMENSIONS = 256
"""Length of the vectors: a fifth of the embeddings of EfficientNet-Lite0."""

SHRINKAGE = 0.3
"""Little is best for the landmarks of the training photos, much for all others; see `whitened_space`."""

Floats = NDArray[np.floating[Any]]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class EmbeddingSpace:
    """A linear map from the embeddings of a model to vectors whose inner product says how alike two photos are.

    Attributes:
        mean: (D,), taken from embeddings of unit length.
        projection: (D, d), what follows.
    """

    mean: Vectors
    projection: Vectors

    def vectors(self, embeddings: Floats) -> Vectors:
        """Map embeddings (N, D) to vectors (N, d) of unit length."""
        mapped = (unit_length(embeddings, np.float32) - self.mean) @ self.projection
        return unit_length(mapped, np.float32)


def plain_space(size: int) -> EmbeddingSpace:
    """Return the space in which embeddings of `size` dimensions are only scaled to unit length."""
    return EmbeddingSpace(np.zeros(size, dtype=np.float32), np.eye(size, dtype=np.float32))


def whitened_space(
    embeddings: Floats,
    labels: NDArray[np.integer[Any]],
    dimensions: int = DIMENSIONS,
) -> EmbeddingSpace:
    """Learn the discriminative whitening of embeddings.

    The directions in which photos of one landmark differ are scaled to the same variance; of what is left, the
    directions with the largest variance are kept (Mikolajczyk and Matas, "Improving descriptors for fast tree
    matching by optimal linear projection", ICCV 2007; Radenovic, Tolias and Chum, TPAMI 2018,
    https://arxiv.org/abs/1711.02512).

    Args:
        embeddings: (N, D), of training photos.
        labels: (N,), their classes.
        dimensions: Length of the vectors; fewer where there are fewer directions in which the photos vary.

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
    # float16 is what the file holds; the rounding is far below what separates two photos.
    return EmbeddingSpace(half(mean), half(whitening @ axes[:, kept] * math.sqrt(level)))


def half(values: Floats) -> Vectors:
    """Round to half precision, which is what files hold."""
    return values.astype(np.float16).astype(np.float32)
