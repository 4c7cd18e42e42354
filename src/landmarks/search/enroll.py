"""A landmark is learnt from a few photos, without training: a prototype with a threshold of its own.

The threshold is chosen so that photos of no landmark reach it at most at a promised rate; such photos lie in the
model's reference. Photos of other landmarks are kept apart by comparison with the means of their own. A user's own
verdicts teach it too: photos on which a tag was confirmed are examples of it, photos on which it was rejected are
counter-examples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.calibration import choose_threshold
from landmarks.errors import ImageError, InputError, ModelError, SettingsError
from landmarks.learned import (
    LearnedLandmark,
    LearnedLandmarks,
    learned_path,
    read_learned,
    similarity,
)
from landmarks.library.library import Library
from landmarks.model_folder import ModelInfo, read_info
from landmarks.places import Gazetteer
from landmarks.preprocess import prepare
from landmarks.recognizer import Recognizer
from landmarks.reference import Reference, read_reference
from landmarks.tags import tags_from_json

PROMISED_RATE = 0.01
"""Share of photos of no landmark that may reach the threshold of one learnt landmark."""

_NAMED = 3  # landmarks that are named as easily confused
_SPREAD = 0.05  # the least, where all photos look alike

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Confusion:
    """A landmark that is like the learnt one.

    Attributes:
        name: Its name.
        similarity: Cosine of the two prototypes.
        confused: Whether photos of it would be taken for the learnt one, but for the comparison with its own mean.
    """

    name: str
    similarity: float
    confused: bool


@dataclass(frozen=True)
class Lesson:
    """What was learnt.

    Attributes:
        landmark: The landmark as it is now.
        added: Photos that were new to it.
        confusions: The landmarks most like it, the most alike first.
        weak: How many of its own photos would not be recognised from the others; many mean that they show
            different things.
        failed: Photos that cannot be read, each with the reason.
    """

    landmark: LearnedLandmark
    added: int
    confusions: tuple[Confusion, ...]
    weak: int
    failed: tuple[tuple[Path, str], ...] = ()


class Teacher:
    """Teaches a model landmarks, and keeps what it was taught.

    Args:
        folder: Model folder.

    Raises:
        ModelError: The model was exported without a reference, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._recognizer = Recognizer(folder)
        info: ModelInfo = self._recognizer.info
        reference, learned = read_reference(folder, info), read_learned(folder, info)
        if reference is None or learned is None:
            raise ModelError(
                f"{folder}: this model brings no photos to compare new landmarks with: export it again with "
                "--negatives"
            )
        self._reference: Reference = reference
        self._learned: LearnedLandmarks = learned
        self._path = learned_path(folder, info)
        places = Gazetteer.bundled()
        self._classes = [places.display_name(info.classes[label]) for label in np.unique(reference.labels)]

    def learn(self, name: str, photos: Sequence[Path], rejected: Sequence[Path] = ()) -> Lesson:
        """Learn a landmark, or learn more of one, from photos of it.

        Args:
            name: Its name.
            photos: Photos that show it; one that was taught before counts once.
            rejected: Photos that do not show it, though it was said of them.

        Raises:
            SettingsError: The name is empty.
            InputError: No photo can be read.
            StorageError: What was learnt cannot be written.
        """
        if not name.strip():
            raise SettingsError("NAME must not be empty: give the name of the landmark")
        shown, failed = self._vectors(photos)
        denied, failed_too = self._vectors(rejected)
        failures = (*failed, *failed_too)
        old = self._learned.find(name)
        size = self._reference.negatives.shape[1]
        before = old.vectors if old is not None else np.empty((0, size), dtype=np.float32)
        vectors = _joined(before, shown)
        if len(vectors) == 0:
            reason = f"{failures[0][0]}: {failures[0][1]}" if failures else "no photo was given"
            raise InputError(f"{name}: there is no photo of it that can be read ({reason}): give one or more")
        denied = _joined(old.rejected if old is not None else denied[:0], denied)
        landmark = calibrate_landmark(
            old.name if old is not None else name, vectors, denied, self._reference.negatives
        )
        others = [one for one in self._learned.landmarks if one is not old]
        self._learned = self._learned.with_landmarks([*others, landmark])
        self._learned.save(self._path)
        return Lesson(
            landmark, len(vectors) - len(before), self._confusions(landmark), _weak(landmark), tuple(failures)
        )

    def _vectors(self, photos: Iterable[Path]) -> tuple[Vectors, list[tuple[Path, str]]]:
        rows, failed = [], []
        for photo in photos:
            try:
                picture = prepare(photo, self._recognizer.info.preprocessing)
            except ImageError as error:
                failed.append((photo, error.reason))
                continue
            rows.append(self._recognizer.answer(picture[None]).embeddings[0])
        size = self._reference.negatives.shape[1]
        found = self._reference.space.vectors(np.stack(rows)) if rows else np.empty((0, size), dtype=np.float32)
        return found.astype(np.float16).astype(np.float32), failed  # as they will be read back

    def _confusions(self, landmark: LearnedLandmark) -> tuple[Confusion, ...]:
        labels, vectors = self._reference.labels, self._reference.vectors
        others = [
            (name, vectors[labels == label]) for name, label in zip(self._classes, np.unique(labels), strict=True)
        ]
        others += [(other.name, other.vectors) for other in self._learned.landmarks]
        found = [
            _confusion(landmark, *other) for other in others if other[0].casefold() != landmark.name.casefold()
        ]
        return tuple(sorted(found, key=lambda one: (-one.confused, -one.similarity))[:_NAMED])


def calibrate_landmark(name: str, vectors: Vectors, rejected: Vectors, negatives: Vectors) -> LearnedLandmark:
    """Choose the threshold of a landmark (split conformal, see `landmarks.calibration.choose_threshold`).

    Args:
        name: Of the landmark.
        vectors: (n, d) of photos of it.
        rejected: (m, d) of photos that do not show it, though it was said of them.
        negatives: (M, d) of photos of no landmark, enough for the promised rate.

    Raises:
        DataError: There are too few negatives.
    """
    threshold = choose_threshold(similarity(vectors, negatives), PROMISED_RATE)
    own = float(similarity(vectors, vectors).mean())
    return LearnedLandmark(name, vectors, rejected, threshold, max(_SPREAD, (own - threshold) / 2))


def forget(folder: Path, name: str) -> None:
    """Take a learnt landmark away.

    Raises:
        InputError: There is none of this name.
    """
    info = read_info(folder)
    learned = read_learned(folder, info)
    found = None if learned is None else learned.find(name)
    if learned is None or found is None:
        names = "" if learned is None else ", ".join(one.name for one in learned.landmarks)
        raise InputError(f"{name}: no landmark of this name was learnt; learnt were: {names or 'none'}")
    rest = [one for one in learned.landmarks if one is not found]
    learned.with_landmarks(rest).save(learned_path(folder, info))


def learn_from_library(teacher: Teacher, library: Library) -> list[Lesson]:
    """Learn from the verdicts of a library: the landmarks that its user confirmed on photos, or rejected."""
    confirmed: dict[str, list[Path]] = defaultdict(list)
    rejected: dict[str, list[Path]] = defaultdict(list)
    names: dict[str, str] = {}
    for photo, verdict in library.verdicts():
        if verdict.verdict == "confirmed":
            for tag in tags_from_json(verdict.tag or "[]"):
                if tag.level == "landmark":
                    names.setdefault(verdict.name, tag.name)
                    confirmed[verdict.name].append(photo)
        elif verdict.verdict == "rejected":
            rejected[verdict.name].append(photo)
    return [teacher.learn(names[key], photos, rejected[key]) for key, photos in confirmed.items()]


def _joined(old: Vectors, new: Vectors) -> Vectors:
    """Return old vectors and those new ones that are not among them."""
    rows = list(old)
    for vector in new:
        if not any(float(vector @ row) > 1 - 1e-3 for row in rows):
            rows.append(vector)
    return np.stack(rows) if rows else old


def _weak(landmark: LearnedLandmark) -> int:
    """Count the photos of a landmark that the others alone would not recognise."""
    count = len(landmark.vectors)
    if count < 2:
        return 0
    left_out = [
        similarity(np.delete(landmark.vectors, place, axis=0), landmark.vectors[place][None])[0]
        for place in range(count)
    ]
    return sum(found < landmark.threshold for found in left_out)


def _confusion(landmark: LearnedLandmark, name: str, vectors: Vectors) -> Confusion:
    mean = vectors.mean(axis=0, keepdims=True)
    alike = float(similarity(landmark.vectors, mean / np.linalg.norm(mean))[0])
    return Confusion(name, alike, bool((landmark.similarity(vectors) >= landmark.threshold).any()))
