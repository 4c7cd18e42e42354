"""Landmarks that a user taught a model after its training, from a few photos each.

A landmark is its photos' vectors: their mean, and each photo on its own. What a new photo is compared with, how
near it must come and how near other landmarks are, all lies in one file beside the model (see `learned_path`),
without pickle, so that it is safe to copy from one machine to another. `landmarks.search.enroll` writes it; the
tagger reads it. Pure numpy.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ModelError
from landmarks.files import atomic_path, sha256_file
from landmarks.model_folder import ONNX_FILE, ModelInfo, is_bundled
from landmarks.reference import REFERENCE_FILE, EmbeddingSpace, read_reference, unit

LEARNED_FILE = "learned.npz"
FORMAT = 1

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LearnedLandmark:
    """One landmark.

    Attributes:
        name: The name to show; the gazetteer may know where it lies.
        vectors: (n, d) of the photos it was learnt from, of unit length.
        rejected: (m, d) of photos that the user said do not show it.
        threshold: Similarity that a photo needs.
        spread: How far above the threshold a photo is as good as certain, above 0: what makes a probability of a
            similarity.
    """

    name: str
    vectors: Vectors
    rejected: Vectors
    threshold: float
    spread: float

    def similarity(self, vectors: Vectors) -> NDArray[np.float64]:
        """Return how like each of (N, d) vectors the landmark is, (N,).

        A photo nearer to one that was rejected than to any that was taught does not show the landmark.
        """
        found = similarity(self.vectors, vectors)
        if len(self.rejected):
            nearest = (vectors @ self.vectors.T).max(axis=1)
            found = np.where((vectors @ self.rejected.T).max(axis=1) > nearest, -1.0, found)
        return found

    def probability(self, similarities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how sure it is, (N,): one half at the threshold."""
        steps = np.clip((similarities - self.threshold) / self.spread, -30, 30)
        chances: NDArray[np.float64] = 1 / (1 + np.exp(-_STEEPNESS * steps))
        return chances


_STEEPNESS = math.log(19)  # one spread above the threshold is 95 %


def similarity(taught: Vectors, vectors: Vectors) -> NDArray[np.float64]:
    """Return how like the taught photos (n, d) each of (N, d) vectors is, (N,): the cosine to their mean.

    Snell, Swersky and Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017,
    https://arxiv.org/abs/1703.05175, with the cosine as in Chen et al., "A closer look at few-shot
    classification", ICLR 2019, https://arxiv.org/abs/1904.04232.
    """
    prototype = unit(taught.mean(axis=0, keepdims=True))[0]
    found: NDArray[np.float64] = (vectors @ prototype).astype(np.float64)
    return found


@dataclass(frozen=True)
class LearnedMatch:
    """A learnt landmark that a photo shows, and how sure that is."""

    landmark: LearnedLandmark
    probability: float


class LearnedLandmarks:
    """What a model was taught.

    Args:
        model: Identity of the model and of its space, from `teachable_identity`.
        space: How embeddings become vectors.
        means: (K, d) mean vectors of the classes that the model was trained on, of unit length.
        landmarks: In the order in which they were learnt.

    Attributes:
        model: As given.
        space: As given.
        means: As given.
        landmarks: As given.
    """

    def __init__(
        self, model: str, space: EmbeddingSpace, means: Vectors, landmarks: Sequence[LearnedLandmark] = ()
    ) -> None:
        self.model = model
        self.space = space
        self.means = means
        self.landmarks = tuple(landmarks)

    def with_landmarks(self, landmarks: Iterable[LearnedLandmark]) -> LearnedLandmarks:
        """Return the same with other landmarks."""
        return LearnedLandmarks(self.model, self.space, self.means, tuple(landmarks))

    def find(self, name: str) -> LearnedLandmark | None:
        """Return the landmark of this name, whatever the case of its letters, or None."""
        return next((one for one in self.landmarks if one.name.casefold() == name.casefold()), None)

    def match(self, embedding: NDArray[np.float32], *, sure: float) -> LearnedMatch | None:
        """Return the landmark that a photo shows, or None.

        It must be sure enough, and nearer to the photo than the mean of any class that the model was trained on:
        so what the model knew before is not lost.

        Args:
            embedding: (D,) that the model gave.
            sure: Probability that is needed.
        """
        if not self.landmarks:
            return None
        vector = self.space.vectors(embedding[None])
        trained = float((vector @ self.means.T).max()) if len(self.means) else -1.0
        best: LearnedMatch | None = None
        for landmark in self.landmarks:
            similar = landmark.similarity(vector)
            chance = float(landmark.probability(similar)[0])
            if chance >= sure and similar[0] > trained and (best is None or chance > best.probability):
                best = LearnedMatch(landmark, chance)
        return best

    def save(self, path: Path) -> None:
        """Write the file, or remove it where there is no landmark.

        Raises:
            StorageError: It cannot be written.
        """
        if not self.landmarks:
            path.unlink(missing_ok=True)
            return
        rows = [
            {"name": one.name, "threshold": one.threshold, "spread": one.spread, "photos": len(one.vectors)}
            for one in self.landmarks
        ]
        described = {"format": FORMAT, "model": self.model, "landmarks": rows}
        taught = np.concatenate([one.vectors for one in self.landmarks])
        rejected = np.concatenate([one.rejected for one in self.landmarks])
        counts = np.array([len(one.rejected) for one in self.landmarks], dtype="<i4")
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                described=np.frombuffer(json.dumps(described).encode(), dtype=np.uint8),
                taught=taught.astype("<f2"),
                rejected=rejected.astype("<f2"),
                rejected_counts=counts,
            )


def teachable_identity(info: ModelInfo) -> str:
    """Return the identity of a model and of its space: what was learnt with another one does not fit."""
    return f"{info.name}-{info.files[ONNX_FILE][:12]}-{info.files.get(REFERENCE_FILE, 'none')[:12]}"


def learned_path(folder: Path, info: ModelInfo) -> Path:
    """Return where what a model was taught lies.

    Beside a model of the user's own; for one that comes with the package, whose folder may be read-only and is
    replaced by an update, in the user's data folder (`$XDG_DATA_HOME`, else `~/.local/share`).
    """
    if not is_bundled(folder):
        return folder / LEARNED_FILE
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "landmarks" / "learned" / f"{teachable_identity(info)}.npz"


def learned_digest(folder: Path, info: ModelInfo) -> str | None:
    """Return the SHA-256 of what a model was taught, or None where that is nothing."""
    path = learned_path(folder, info)
    return sha256_file(path) if path.is_file() else None


def read_learned(folder: Path, info: ModelInfo) -> LearnedLandmarks | None:
    """Return what a model was taught; None where it cannot be taught, because it was exported without a reference.

    Raises:
        ModelError: A file is damaged, or what was learnt is of another model.
    """
    reference = read_reference(folder, info)
    path = learned_path(folder, info)
    if reference is None:
        return None
    identity = teachable_identity(info)
    labels = np.unique(reference.labels)
    means = np.stack([reference.vectors[reference.labels == label].mean(axis=0) for label in labels])
    empty = LearnedLandmarks(identity, reference.space, unit(means))
    if not path.is_file():
        return empty
    try:
        with np.load(path, allow_pickle=False) as stored:
            described = json.loads(stored["described"].tobytes().decode())
            taught, rejected = (stored[name].astype(np.float32) for name in ("taught", "rejected"))
            counts = stored["rejected_counts"]
        model, rows = str(described["model"]), described["landmarks"]
        if model != identity:
            raise ModelError(
                f"{path}: learnt with the model {model}, not {identity}: remove it and learn the landmarks again"
            )
        size = reference.space.projection.shape[1]
        if described["format"] != FORMAT or taught.shape[1] != size or rejected.shape[1] != size:
            raise ValueError("another format")
        landmarks = list(_landmarks(rows, taught, rejected, counts))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ModelError(f"{path}: damaged ({error}): remove it and learn the landmarks again") from error
    return empty.with_landmarks(landmarks)


def _landmarks(
    rows: Sequence[dict[str, Any]], taught: Vectors, rejected: Vectors, counts: NDArray[np.integer[Any]]
) -> Iterable[LearnedLandmark]:
    of_taught = of_rejected = 0
    for row, count in zip(rows, counts.tolist(), strict=True):
        vectors = taught[of_taught : of_taught + int(row["photos"])]
        if len(vectors) != int(row["photos"]) or len(vectors) == 0 or float(row["spread"]) <= 0:
            raise ValueError("a landmark without its photos")
        yield LearnedLandmark(
            str(row["name"]),
            vectors,
            rejected[of_rejected : of_rejected + count],
            float(row["threshold"]),
            float(row["spread"]),
        )
        of_taught, of_rejected = of_taught + len(vectors), of_rejected + count
