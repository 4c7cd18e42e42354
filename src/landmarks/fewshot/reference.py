"""The reference of a model: a space to compare embeddings in, and photos to compare with.

The thresholds of landmarks learned later are chosen on these photos, some of each class and some without a
landmark. Only their vectors are stored, not the photos.

Pure numpy: `landmarks export` writes the file; search and learning read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ModelError
from landmarks.files.atomic import atomic_path
from landmarks.model.embedding_space import DIMENSIONS, EmbeddingSpace, Floats, Vectors, whitened_space
from landmarks.model.folder import REFERENCE_FILE, ModelInfo, check_file
from landmarks.model.neighbours import photos_per_class
from landmarks.model.vectors import DAMAGED, half, rows_by_class


@dataclass(frozen=True, eq=False)
class Reference:
    """A space and the vectors of photos in it.

    Attributes:
        space: Maps embeddings to vectors.
        vectors: (N, d), training photos.
        labels: (N,), their classes.
        negatives: (M, d), photos without a landmark.
    """

    space: EmbeddingSpace
    vectors: Vectors
    labels: NDArray[np.int64]
    negatives: Vectors

    def save(self, path: Path) -> None:
        """Write the file; raises `StorageError` if it cannot be written."""
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
        """Read a file written by `save`.

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
        except DAMAGED as error:
            raise ModelError(f"{path}: damaged ({error}): export the model again") from error
        return cls(EmbeddingSpace(mean, projection), vectors, labels, negatives)


def read_reference(folder: Path, info: ModelInfo) -> Reference | None:
    """Return the reference of a model, or None if it was exported without one.

    Raises:
        ModelError: The file is missing, damaged, or not the one that was exported.
    """
    if REFERENCE_FILE not in info.files:
        return None
    reference = Reference.load(check_file(folder, info, REFERENCE_FILE))
    if reference.labels.max(initial=0) >= len(info.classes):
        raise ModelError(f"{folder / REFERENCE_FILE}: its labels do not fit the classes: export the model again")
    return reference


def make_reference(
    embeddings: Floats, labels: NDArray[np.integer[Any]], negatives: Floats, *, dimensions: int = DIMENSIONS
) -> Reference:
    """Learn the whitening from training photos, and select some of them.

    Args:
        embeddings: (N, D), training photos.
        labels: (N,), their classes.
        negatives: (M, D), photos without a landmark.
        dimensions: Dimensions of the vectors.
    """
    space = whitened_space(embeddings, labels, dimensions)
    classes = int(labels.max()) + 1
    kept = np.concatenate(rows_by_class(labels, classes, photos_per_class(classes)))
    return Reference(
        space,
        half(space.vectors(np.asarray(embeddings)[kept])),
        np.asarray(labels)[kept].astype(np.int64),
        half(space.vectors(negatives)),
    )
