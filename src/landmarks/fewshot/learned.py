"""Landmarks that a user taught a model after its training, from a few photos each.

A landmark consists of the vectors of its photos and of rejected photos. All landmarks are stored in one file
(see `landmarks.model.folder.learned_path`), without pickle, so it is safe to copy between machines. The thresholds
for a new photo follow from these vectors and the model's reference (`landmarks.fewshot.prototypes`), for all
landmarks at once, and are computed on load. `landmarks.fewshot.enrollment` writes the file; the tagger reads it.
Pure numpy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ModelError, listed
from landmarks.fewshot.prototypes import PrototypeRule, Taught, chance
from landmarks.fewshot.reference import Reference, read_reference
from landmarks.files.atomic import atomic_path
from landmarks.geo.gazetteer import Gazetteer, Place, distance_km, normalise, normalise_given
from landmarks.model.embedding_space import Vectors
from landmarks.model.folder import (
    ModelInfo,
    checksum,
    is_bundled,
    learned_path,
    places_of,
    teachable_identity,
)
from landmarks.model.vectors import DAMAGED

FORMAT = 2

ELSEWHERE_KM = 50.0
"""Distance from the user's position above which a place of the same name is another one."""

NETWORK_SURE = 0.5
"""Minimum probability from the network before confirmed photos of one of its own classes count."""


@dataclass(frozen=True, eq=False)
class LearnedLandmark:
    """One landmark.

    Attributes:
        name: As given by the user; the gazetteer may know its place.
        vectors: (n, d), unit vectors of the photos it was learned from.
        rejected: (m, d), unit vectors of photos for which the user rejected it.
        position: Its latitude and longitude in degrees, as given by the user; None if they were not.
    """

    name: str
    vectors: Vectors
    rejected: Vectors
    position: tuple[float, float] | None = None

    def place_in(self, gazetteer: Gazetteer) -> Place | None:
        """Return its place in a gazetteer; None if that has none of its name, or only one that lies elsewhere."""
        place = gazetteer.find(self.name)
        there = None if place is None else place.coordinates
        if self.position is None or there is None:
            return place
        return place if distance_km(self.position, there) <= ELSEWHERE_KM else None


@dataclass(frozen=True)
class LearnedMatch:
    """A learned landmark that a photo shows, with its probability, an uncalibrated estimate."""

    landmark: LearnedLandmark
    probability: float


class LearnedLandmarks:
    """All landmarks that a model was taught.

    Args:
        model: Identity of the model and its embedding space, from `teachable_identity`.
        reference: Reference of the model.
        classes: Names of the reference's classes, in the order of their labels. A landmark with a name of a class
            is that class, unless it lies elsewhere.
        landmarks: The landmarks, in the order in which they were learned.
        gazetteer: Places by their names; None for the bundled ones.

    Attributes:
        model: As given.
        reference: As given.
        classes: As given.
        landmarks: As given.
        gazetteer: As given.
        rule: The rule that recognises them; None if there are no landmarks.

    Raises:
        DataError: The reference has too few photos without a landmark.
    """

    def __init__(
        self,
        model: str,
        reference: Reference,
        classes: Sequence[str],
        landmarks: Sequence[LearnedLandmark] = (),
        gazetteer: Gazetteer | None = None,
    ) -> None:
        self.model = model
        self.reference = reference
        self.classes = tuple(classes)
        self.landmarks = tuple(landmarks)
        self.gazetteer = Gazetteer.bundled() if gazetteer is None else gazetteer
        self._taught = self._as_taught()
        self.rule = PrototypeRule(reference, self._taught) if self.landmarks else None

    def _as_taught(self) -> list[Taught]:
        def place(name: str) -> Place | str:
            return self.gazetteer.find(name) or normalise(name)

        labels = {place(name): label for label, name in enumerate(self.classes)}
        known = [labels.get(one.place_in(self.gazetteer) or normalise(one.name)) for one in self.landmarks]
        return [Taught(one.vectors, one.rejected, label) for one, label in zip(self.landmarks, known, strict=True)]

    def with_landmarks(self, landmarks: Iterable[LearnedLandmark]) -> LearnedLandmarks:
        """Return a copy with other landmarks."""
        return LearnedLandmarks(self.model, self.reference, self.classes, tuple(landmarks), self.gazetteer)

    def find(self, name: str) -> LearnedLandmark | None:
        """Return the landmark with this name or another of the same place, or None."""
        wanted = self._meant(name)
        return next((one for one in self.landmarks if self._meant(one.name) == wanted), None)

    def _meant(self, name: str) -> Place | str:
        return self.gazetteer.find(name) or normalise_given(name)

    def match(
        self, embedding: NDArray[np.float32], *, min_confidence: float, likeliest: tuple[str, float] | None = None
    ) -> LearnedMatch | None:
        """Return the most similar landmark that a photo shows with enough confidence, or None.

        Args:
            embedding: (D,), from the model.
            min_confidence: Minimum probability; below 0.5 it has no effect.
            likeliest: The network's top class and its probability, or None to ignore the network. A landmark that
                is a class of the model must also be the network's top class, with at least `NETWORK_SURE`: a few
                photos alone led to as many false tags as correct ones.
        """
        if self.rule is None:
            return None
        vector = self.reference.space.vectors(embedding[None])
        similar, excess = self.rule.similarities(vector)[0], self.rule.excess(vector)[0]
        for number in np.argsort(-similar, kind="stable").tolist():
            if likeliest is not None and not self._agrees(number, *likeliest):
                continue
            probability = chance(float(excess[number]), float(self.rule.spreads[number]))
            # 50 % is a photo that just passes: with less the thresholds would not keep their rate of false tags.
            if probability >= max(min_confidence, 0.5):
                return LearnedMatch(self.landmarks[number], probability)
        return None

    def may_show(self, vectors: Vectors) -> NDArray[np.bool_]:
        """Return which of (N, d) vectors may show a landmark: by themselves, with a probability of 5 % or more."""
        if self.rule is None or len(vectors) == 0:
            return np.zeros(len(vectors), dtype=np.bool_)
        possible: NDArray[np.bool_] = (self.rule.excess(vectors) / self.rule.spreads).max(axis=1) >= -1.0
        return possible

    def _agrees(self, number: int, class_name: str, probability: float) -> bool:
        """Return whether the network agrees with a landmark; always true for one that is not a class."""
        known = self._taught[number].known
        return known is None or (self.classes[known] == class_name and probability >= NETWORK_SURE)

    def save(self, path: Path) -> None:
        """Write the file, or remove it if there are no landmarks.

        Raises:
            StorageError: It cannot be written.
        """
        if not self.landmarks:
            path.unlink(missing_ok=True)
            return
        rows = [
            {"name": one.name, "photos": len(one.vectors)} | ({"position": one.position} if one.position else {})
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


def learned_digest(folder: Path, info: ModelInfo) -> str | None:
    """Return the SHA-256 of the learned landmarks of a model, or None if there are none."""
    path = learned_path(folder, info)
    return checksum(path) if path.is_file() else None


def read_learned(folder: Path, info: ModelInfo) -> LearnedLandmarks | None:
    """Return the learned landmarks of a model; None if it was exported without a reference and cannot be taught.

    Raises:
        ModelError: A file is damaged, or belongs to another model.
        PlacesError: The folder's own table of places is broken.
    """
    reference = read_reference(folder, info)
    path = learned_path(folder, info)
    if reference is None:
        return None
    identity = teachable_identity(info)
    classes = [info.classes[label] for label in np.unique(reference.labels)]
    empty = LearnedLandmarks(identity, reference, classes, (), places_of(folder, Gazetteer.bundled()))
    if not path.is_file():
        return empty
    try:
        with np.load(path, allow_pickle=False) as stored:
            described = json.loads(stored["described"].tobytes().decode())
            taught, rejected = (stored[name].astype(np.float32) for name in ("taught", "rejected"))
            counts = stored["rejected_counts"]
        model, rows = str(described["model"]), described["landmarks"]
        if model.split("-")[-2:] != identity.split("-")[-2:]:  # a copy may have another name
            raise ModelError(
                f"{path}: learned with the model {model}, not {identity}: remove it and learn the landmarks again"
            )
        size = reference.space.projection.shape[1]
        if described["format"] != FORMAT or taught.shape[1] != size or rejected.shape[1] != size:
            raise ValueError("another format")
        landmarks = list(_landmarks(rows, taught, rejected, counts))
    except DAMAGED as error:
        raise ModelError(f"{path}: damaged ({error}): remove it and learn the landmarks again") from error
    return empty.with_landmarks(landmarks)


def lost_in_update(folder: Path, info: ModelInfo) -> str:
    """Return what only an earlier version of a bundled model was taught, as a sentence; empty if nothing was."""
    if not is_bundled(folder):
        return ""  # what belongs to another version is refused
    path = learned_path(folder, info)
    earlier = sorted(set(path.parent.glob(f"{info.name}-{'[0-9a-f]' * 12}-*.npz")) - {path})
    before, now = {name: None for one in earlier for name in _names_in(one)}, _names_in(path)
    if not (names := [name for name in before if name not in now]):
        return ""
    again = f"teach it again, or remove {listed(earlier)}"
    return f"{info.name}: what it was taught before its update is not used any more ({listed(names)}): {again}"


def _names_in(path: Path) -> list[str]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return [str(row["name"]) for row in json.loads(stored["described"].tobytes())["landmarks"]]
    except DAMAGED:
        return []


def _landmarks(
    rows: Sequence[dict[str, Any]], taught: Vectors, rejected: Vectors, counts: NDArray[np.integer[Any]]
) -> Iterable[LearnedLandmark]:
    of_taught = of_rejected = 0
    for row, count in zip(rows, counts.tolist(), strict=True):
        vectors = taught[of_taught : of_taught + int(row["photos"])]
        if len(vectors) != int(row["photos"]) or len(vectors) == 0:
            raise ValueError("a landmark without its photos")
        denied, position = rejected[of_rejected : of_rejected + count], row.get("position")
        where = None if position is None else (float(position[0]), float(position[1]))
        yield LearnedLandmark(str(row["name"]), vectors, denied, where)
        of_taught, of_rejected = of_taught + len(vectors), of_rejected + count
