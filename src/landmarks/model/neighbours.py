"""Nearest neighbours: how close a new photo is to stored training photos.

A network is often confident about things it has never seen. Its embedding is more informative: photos of one
landmark are close together, and a photo of something else is close to none of them, or closer to photos without a
landmark (deep nearest neighbours: Sun et al. 2022, https://arxiv.org/abs/2204.06507). A few photos per class are
stored, and many of the background, as int8 vectors in a space of fewer dimensions; the photos cannot be
reconstructed from them.

Pure numpy: inference and training share this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError, SettingsError
from landmarks.model.embedding_space import EmbeddingSpace, Floats, Vectors, whitened_space
from landmarks.model.vectors import inner_products, packed, rows_by_class, spread, unit_length, unpacked

NEAREST = 3
"""Number of nearest photos of a class to average: one alone may be an outlier."""

PHOTOS_PER_CLASS = 20

PHOTOS_OF_CLASSES = 40_000
"""Stored photos of all classes together, at least one of each: above 2,000 classes each has fewer than 20."""

BACKGROUND_PHOTOS = 1500

BACKGROUND_LABEL = -1

_BLOCK = 20_000_000  # cosines that are gathered at once


@dataclass(frozen=True)
class Closeness:
    """Cosines of N photos to the nearest stored ones.

    Attributes:
        own: (N,), to photos of the given class.
        other: (N,), to photos of the closest other class.
        background: (N,), to photos without a landmark; -1 if none are stored.
    """

    own: NDArray[np.float64]
    other: NDArray[np.float64]
    background: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Stored photos of the classes and of the background.

    Attributes:
        space: Space in which they are compared.
        vectors: (N, d) int8, directions in that space, in the order of the labels.
        labels: (N,), the class of each, `BACKGROUND_LABEL` for the background.

    Raises:
        SettingsError: The shapes do not fit, or a class below the largest has no photo.
    """

    space: EmbeddingSpace
    vectors: NDArray[np.int8]
    labels: NDArray[np.int32]

    def __post_init__(self) -> None:
        size, shape = self.space.projection.shape[1], self.vectors.shape
        if len(shape) != 2 or shape[1] != size or self.labels.shape != shape[:1]:
            raise SettingsError(f"vectors {shape} and labels {self.labels.shape} of the neighbours do not fit")
        if np.any(np.diff(self.labels) < 0) or not len(self.labels):
            raise SettingsError("the labels of the neighbours must rise")
        if set(range(self.classes)) - set(self.labels.tolist()):
            raise SettingsError("each class must have a neighbour")

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels[-1]) + 1

    @classmethod
    def fit(
        cls,
        embeddings: Floats,
        labels: NDArray[np.integer[Any]],
        background: Floats,
        *,
        classes: int,
        space: EmbeddingSpace | None = None,
    ) -> Neighbours:
        """Select photos of each class and of the background, evenly spaced over those given.

        Args:
            embeddings: (N, D), training photos.
            labels: (N,), their classes, from 0 to `classes`.
            background: (M, D), photos without a landmark; may be empty.
            classes: Number of classes.
            space: Space in which to compare them, or None to learn a whitening from the training photos.

        Raises:
            DataError: A class has no photo.
        """
        missing = sorted(set(range(classes)) - set(labels.tolist()))
        if missing:
            raise DataError(f"class {missing[0]} has no photo to compare with")
        kept = rows_by_class(labels, classes, photos_per_class(classes))
        far = spread(np.arange(len(background)), BACKGROUND_PHOTOS)
        chosen = space or whitened_space(embeddings, labels)
        values = [chosen.vectors(np.asarray(background)[far])] if len(far) else []
        values += [chosen.vectors(np.asarray(embeddings)[places]) for places in kept]
        vectors = np.concatenate(values)
        scale = 127 / np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-12)
        sizes = [len(places) for places in kept]
        numbers = np.repeat(np.arange(BACKGROUND_LABEL, classes), [len(far), *sizes])
        return cls(chosen, np.rint(vectors * scale).astype(np.int8), numbers.astype(np.int32))

    def closeness(self, embeddings: Floats, asked: NDArray[np.integer[Any]]) -> Closeness:
        """Measure how close photos are to a class, to the others and to the background.

        Args:
            embeddings: (N, D).
            asked: (N,), a class for each photo.
        """
        directions, groups, first = self._table
        rows_at_once = max(1, _BLOCK // groups.size)
        if len(embeddings) > rows_at_once:
            starts = range(0, len(embeddings), rows_at_once)
            blocks = [slice(start, start + rows_at_once) for start in starts]
            parts = [self.closeness(embeddings[block], asked[block]) for block in blocks]
            columns = ([getattr(part, name) for part in parts] for name in ("own", "other", "background"))
            return Closeness(*map(np.concatenate, columns))
        queries = self.space.vectors(embeddings)
        cosines = inner_products(queries, directions)  # (N, vectors)
        padded = np.concatenate([cosines, np.full((len(queries), 1), -1.0, np.float32)], axis=1)
        of_classes = _mean_of_largest(padded[:, groups])  # (N, classes)
        rows = np.arange(len(queries))
        own = of_classes[rows, asked]
        of_classes[rows, asked] = -1.0
        none = np.full(len(queries), -1.0)
        background = _mean_of_largest(cosines[:, :first]).astype(np.float64) if first else none
        return Closeness(own.astype(np.float64), of_classes.max(axis=1).astype(np.float64), background)

    @cached_property
    def _table(self) -> tuple[Vectors, NDArray[np.intp], int]:
        """Unit vectors; indices of each class, padded with one past the end; first index of the classes."""
        first = int(np.searchsorted(self.labels, 0))
        counts = np.bincount(self.labels[first:], minlength=self.classes)
        starts = first + np.cumsum(counts) - counts
        places = starts[:, None] + np.arange(counts.max())[None]
        groups = np.where(np.arange(counts.max())[None] < counts[:, None], places, len(self.labels))
        # A class of one or two photos repeats them, else the padding would count.
        few = np.arange(counts.max())[None] < np.where(counts < NEAREST, NEAREST, 0)[:, None]
        groups = np.where(few, np.minimum(places, (starts + counts - 1)[:, None]), groups)
        return unit_length(self.vectors.astype(np.float32), np.float32), groups, first

    def to_dict(self) -> dict[str, Any]:
        """Return the values as stored in `model.json`."""
        return {
            "dimensions": self.vectors.shape[1],
            "mean": packed(self.space.mean.astype("<f2")),
            "projection": packed(self.space.projection.astype("<f2")),
            "vectors": packed(self.vectors),
            "labels": packed(self.labels.astype("<i4")),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Neighbours:
        """Create it from `to_dict` values; raises `KeyError`, `TypeError` or `ValueError` if they are damaged."""
        size = int(values["dimensions"])
        mean = unpacked(values["mean"], "<f2").astype(np.float32)
        projection = unpacked(values["projection"], "<f2").astype(np.float32).reshape(len(mean), size)
        if not (np.isfinite(mean).all() and np.isfinite(projection).all()):
            raise ValueError("the space of the neighbours is not finite")
        vectors = unpacked(values["vectors"], "i1").reshape(-1, size)
        return cls(EmbeddingSpace(mean, projection), vectors, unpacked(values["labels"], "<i4"))


def photos_per_class(classes: int) -> int:
    """Return how many photos of each class are stored: few enough that a model of very many classes opens."""
    return max(1, min(PHOTOS_PER_CLASS, PHOTOS_OF_CLASSES // max(1, classes)))


def _mean_of_largest(cosines: Vectors) -> Vectors:
    """Return the mean of the `NEAREST` largest values along the last axis."""
    count = min(NEAREST, cosines.shape[-1])
    largest = np.partition(cosines, -count, axis=-1)[..., -count:]
    mean: Vectors = largest.mean(axis=-1)
    return mean
