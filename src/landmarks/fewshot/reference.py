"""What a model folder knows of its own embeddings: a space to compare them in, and photos to compare with.

Cosines of raw embeddings are dominated by directions in which photos of the same landmark differ too. A whitening
that is learnt on the training photos takes these down and leaves a few hundred dimensions.
benchmarks/results/retrieval.md compares it with raw embeddings and with PCA whitening, which knows no classes.

The photos to compare with, some of each class and some of no landmark, are what the threshold of a landmark that
is learnt later is chosen on. They are vectors alone: no photo can be made from them again.

Pure numpy: `landmarks export` writes the file, search and learning read it.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError, ModelError
from landmarks.files.atomic import atomic_path
from landmarks.model.folder import ModelInfo, check_file
from landmarks.model.vectors import unit_length, within_class

REFERENCE_FILE = "reference.npz"
DIMENSIONS = 256
"""Length of the vectors: a fifth of the embeddings of EfficientNet-Lite0."""

SHRINKAGE = 0.3
"""Little is best for the landmarks of the training photos, much for all others; see `whitened_space`."""

PHOTOS_A_CLASS = 20
"""Training photos of each class that a reference keeps."""

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
    shrinkage: float = SHRINKAGE,
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
        shrinkage: Share of the mean variance in that of each direction, in (0, 1]: landmarks that are not among
            the training photos differ in other directions too.

    Raises:
        DataError: There are fewer than two photos.
    """
    if len(embeddings) < 2:
        raise DataError(f"{len(embeddings)} photos are too few to learn a whitening from: give two or more")
    values = unit_length(embeddings, np.float32).astype(np.float64)
    _, covariance = within_class(values, labels)
    level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    variances, directions = np.linalg.eigh(
        (1 - shrinkage) * covariance + shrinkage * level * np.eye(len(covariance))
    )
    whitening = directions / np.sqrt(variances)
    mean = values.mean(axis=0)
    centred = (values - mean) @ whitening
    spread, axes = np.linalg.eigh(centred.T @ centred / len(values))
    kept = np.argsort(-spread)[: min(dimensions, len(values) - 1)]
    # float16 is what the file holds; the rounding is far below what separates two photos.
    return EmbeddingSpace(_rounded(mean), _rounded(whitening @ axes[:, kept] * math.sqrt(level)))


@dataclass(frozen=True, eq=False)
class Reference:
    """A space and photos in it.

    Attributes:
        space: How embeddings become vectors.
        vectors: (N, d) of training photos.
        labels: (N,), their classes.
        negatives: (M, d) of photos without a landmark.
    """

    space: EmbeddingSpace
    vectors: Vectors
    labels: NDArray[np.int64]
    negatives: Vectors

    def save(self, path: Path) -> None:
        """Write the file; raises `StorageError` when it cannot be written."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                mean=self.space.mean.astype("<f2"),
                projection=self.space.projection.astype("<f2"),
                vectors=self.vectors.astype("<f2"),
                labels=self.labels.astype("<i4"),
                negatives=self.negatives.astype("<f2"),
            )

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read what `save` wrote.

        Raises:
            ModelError: The file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                values = {name: stored[name] for name in ("mean", "projection", "vectors", "negatives")}
                labels = stored["labels"].astype(np.int64)
            mean, projection, vectors, negatives = (value.astype(np.float32) for value in values.values())
            size = projection.shape[1]
            if not (mean.shape == projection.shape[:1] and vectors.shape == (len(labels), size)):
                raise ValueError("the shapes do not fit")
            if negatives.shape[1] != size or not all(np.isfinite(value).all() for value in values.values()):
                raise ValueError("the values do not fit")
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ModelError(f"{path}: damaged ({error}): export the model again") from error
        return cls(EmbeddingSpace(mean, projection), vectors, labels, negatives)


def read_reference(folder: Path, info: ModelInfo) -> Reference | None:
    """Return the reference of a model, or None where it was exported without one.

    Raises:
        ModelError: The file is missing, damaged, or not the one that was exported.
    """
    if REFERENCE_FILE not in info.files:
        return None
    return Reference.load(check_file(folder, info, REFERENCE_FILE))


def make_reference(
    embeddings: Floats, labels: NDArray[np.integer[Any]], negatives: Floats, *, dimensions: int = DIMENSIONS
) -> Reference:
    """Learn the whitening from training photos, and keep some of them.

    Args:
        embeddings: (N, D), of training photos.
        labels: (N,), their classes.
        negatives: (M, D), of photos without a landmark.
        dimensions: Length of the vectors.
    """
    space = whitened_space(embeddings, labels, dimensions)
    kept = np.concatenate([_spread(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    return Reference(
        space,
        _rounded(space.vectors(np.asarray(embeddings)[kept])),
        np.asarray(labels)[kept].astype(np.int64),
        _rounded(space.vectors(negatives)),
    )


def _spread(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return up to `PHOTOS_A_CLASS` of the places, evenly spread."""
    count = min(len(places), PHOTOS_A_CLASS)
    return places[np.linspace(0, len(places) - 1, count).round().astype(np.intp)]


def _rounded(values: Floats) -> Vectors:
    return values.astype(np.float16).astype(np.float32)
