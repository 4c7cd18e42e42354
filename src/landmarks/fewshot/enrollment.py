"""Teaches a model landmarks from a few photos, without training; `landmarks.fewshot.prototypes` has the rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import InputError, ModelError, SettingsError, StorageError, counted
from landmarks.fewshot.learned import LearnedLandmark, LearnedLandmarks, read_learned
from landmarks.fewshot.prototypes import Taught
from landmarks.files.locks import locked
from landmarks.geo.gazetteer import normalise
from landmarks.imaging.limits import DEFAULT_LIMITS, ImageLimits
from landmarks.model.embedding_space import Vectors
from landmarks.model.folder import ModelInfo, learned_path, read_info
from landmarks.model.ood import BACKGROUND
from landmarks.model.recognizer import Recognizer
from landmarks.model.vectors import half

ENOUGH_PHOTOS = 5
"""With fewer, a landmark is learned, and found on photos of other things too."""

_SAME = 1 - 1e-3  # cosine above which two vectors are of one photo
_NAMED = 3  # confusable landmarks to report
_WAIT = 60.0  # seconds to wait for another process to finish writing, which takes milliseconds


@dataclass(frozen=True)
class Confusion:
    """A landmark similar to the learned one.

    Attributes:
        name: Its name.
        similarity: Cosine of the two prototypes.
        confused: Whether photos of it would pass for the learned one if they were not compared with its own mean.
    """

    name: str
    similarity: float
    confused: bool


@dataclass(frozen=True)
class Lesson:
    """The result of learning a landmark.

    Attributes:
        landmark: The updated landmark.
        added: Number of photos that were new.
        confusions: The most similar landmarks, most similar first.
        weak: How many of its photos would not be recognised from the others; a high count means that they show
            different things.
        failed: Unreadable photos, each with the reason.
        taken_for: Which place of its name it is taken for, as a sentence; empty if none has it, or its position is
            known.
    """

    landmark: LearnedLandmark
    added: int
    confusions: tuple[Confusion, ...]
    weak: int
    failed: tuple[tuple[Path, str], ...] = ()
    taken_for: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about photos that are too few, or do not show the same; none if all is well."""
        name, count = self.landmark.name, len(self.landmark.vectors)
        found = []
        if count < ENOUGH_PHOTOS:
            found.append(f"{name}: {counted(count, 'photo')}: five or more are better, expect wrong tags")
        if self.weak:
            found.append(
                f"{name}: {self.weak} of its photos would not be recognised from the others: give more photos, or "
                "only photos of the same side of it"
            )
        return tuple(found)


class Teacher:
    """Teaches a model landmarks and stores them.

    Args:
        folder: Model folder.
        limits: Largest file and image to accept.

    Raises:
        ModelError: The model was exported without a reference, or a file is damaged.
    """

    def __init__(self, folder: Path, limits: ImageLimits = DEFAULT_LIMITS) -> None:
        self._folder = folder
        self._recognizer = Recognizer(folder, limits=limits)
        self._info: ModelInfo = self._recognizer.info
        self._reference = self._read().reference

    def _read(self) -> LearnedLandmarks:
        learned = read_learned(self._folder, self._info)
        if learned is None:
            raise ModelError(
                f"{self._folder}: this model has no reference photos to compare new landmarks with: export it "
                "again with --negatives"
            )
        return learned

    def knows(self, name: str) -> bool:
        """Return whether the model was taught a landmark of this name, in any language."""
        return self._read().find(name) is not None

    def learn(
        self,
        name: str,
        photos: Sequence[Path],
        rejected: Sequence[Path] = (),
        *,
        position: tuple[float, float] | None = None,
    ) -> Lesson:
        """Learn a landmark from photos, or add photos to one that was learned before.

        Several processes may teach one model at once: each adds to what the others have written.

        Args:
            name: Name of the landmark.
            photos: Photos that show it; a repeated photo counts once.
            rejected: Photos that were wrongly tagged with it.
            position: Its latitude and longitude in degrees; None to keep what is known.

        Raises:
            SettingsError: The name is empty, or that of the background class.
            InputError: No photo was given, or none can be read.
            DataError: The model's reference has too few photos without a landmark.
            StorageError: The file of learned landmarks cannot be written.
        """
        if not name.strip():
            raise SettingsError("`name` must not be empty: give the name of the landmark")
        if normalise(name) == BACKGROUND:
            raise SettingsError(
                f"`name` must not be {BACKGROUND}, which is never a tag: give that of the landmark"
            )
        if not photos and not rejected:
            raise InputError(f"{name}: no photo was given: give one or more that show it")
        shown, failed = self._vectors(photos)
        denied, failed_too = self._vectors(rejected)
        failures = (*failed, *failed_too)
        with _writing(self._folder, self._info):
            learned = self._read()
            old = learned.find(name)
            # The newest word counts: a photo that was an example, and is rejected now, is one no longer.
            before = _without(old.vectors, denied) if old is not None else shown[:0]
            vectors = _joined(before, shown)
            if len(vectors) == 0:
                reason = f"{failures[0][0]}: {failures[0][1]}" if failures else "all were rejected"
                raise InputError(f"{name}: there is no photo of it that can be read ({reason}): give one or more")
            denied = _joined(_without(old.rejected, shown) if old is not None else denied[:0], denied)
            where = position or (old.position if old is not None else None)
            landmark = LearnedLandmark(old.name if old is not None else name, vectors, denied, where)
            others = [one for one in learned.landmarks if one is not old]
            learned = learned.with_landmarks([*others, landmark])
            learned.save(learned_path(self._folder, self._info))
        added, taken = len(vectors) - len(before), _taken_for(landmark, learned)
        return Lesson(landmark, added, _confusions(learned), _weak(learned), tuple(failures), taken)

    def _vectors(self, photos: Iterable[Path]) -> tuple[Vectors, list[tuple[Path, str]]]:
        rows, failed = [], []
        for answer in self._recognizer.recognize(photos, embeddings=True):
            if answer.embedding is None:
                failed.append((answer.path, str(answer.error)))
            else:
                rows.append(answer.embedding)
        size = self._reference.negatives.shape[1]
        found = self._reference.space.vectors(np.stack(rows)) if rows else np.empty((0, size), dtype=np.float32)
        return half(found), failed


@contextmanager
def _writing(folder: Path, info: ModelInfo) -> Iterator[None]:
    """Let only one process at a time update the learned landmarks of a model."""
    path = learned_path(folder, info)
    busy = StorageError(f"{path}: another process is writing it: try again")
    with locked(path.with_suffix(".lock"), wait=_WAIT, busy=busy):
        yield


def forget(folder: Path, name: str, photos: Iterable[NDArray[np.floating]] | None = None) -> None:
    """Remove a learned landmark, or some of its photos.

    Args:
        folder: Model folder.
        name: Its name.
        photos: Vectors of the photos to remove, (d,) each; None for all. Without photos it is gone.

    Raises:
        InputError: There is none with this name.
    """
    info = read_info(folder)
    with _writing(folder, info):
        learned = read_learned(folder, info)
        found = None if learned is None else learned.find(name)
        if learned is None or found is None:
            names = "" if learned is None else ", ".join(one.name for one in learned.landmarks)
            raise InputError(f"{name}: no landmark of this name was learned; learned were: {names or 'none'}")
        rest = [one for one in learned.landmarks if one is not found]
        if photos is not None:
            size = found.vectors.shape[1]
            gone = [one.astype(np.float32) for one in photos if len(one) == size]  # not those of another model
            kept = _without(found.vectors, np.stack(gone)) if gone else found.vectors
            rest += [replace(found, vectors=kept)] if len(kept) else []
        learned.with_landmarks(rest).save(learned_path(folder, info))


def _joined(old: Vectors, new: Vectors) -> Vectors:
    """Return the old vectors followed by the new ones not among them."""
    rows = list(old)
    for vector in new:
        if not any(float(vector @ row) > _SAME for row in rows):
            rows.append(vector)
    return np.stack(rows) if rows else old


def _without(vectors: Vectors, others: Vectors) -> Vectors:
    """Return those of the vectors (N, d) that are not among others (M, d)."""
    return vectors[(vectors @ others.T <= _SAME).all(axis=1)]


def _taken_for(landmark: LearnedLandmark, learned: LearnedLandmarks) -> str:
    """Return which place a landmark without a position is taken for because of its name, or nothing."""
    place = None if landmark.position is not None else landmark.place_in(learned.gazetteer)
    if place is None:
        return ""
    where = ", ".join(filter(None, (place.name, place.city, place.country)))
    known = " (a class of the model)" if place in map(learned.gazetteer.find, learned.classes) else ""
    return f"taken for {where}{known}: give another landmark another name"


def _weak(learned: LearnedLandmarks) -> int:
    """Count the photos of the landmark learned last that its other photos would not recognise."""
    vectors, number = learned.landmarks[-1].vectors, len(learned.landmarks) - 1
    if learned.rule is None or len(vectors) < 2:
        return 0
    weak = 0
    for place in range(len(vectors)):
        others = Taught(np.delete(vectors, place, axis=0), vectors[:0])
        weak += not learned.rule.reached(number, others.prototype, vectors[place][None])[0]
    return weak


def _confusions(learned: LearnedLandmarks) -> tuple[Confusion, ...]:
    """Return the landmarks most similar to the one learned last."""
    *before, landmark = learned.landmarks
    show = learned.gazetteer.display_name
    labels, vectors = learned.reference.labels, learned.reference.vectors
    others = [
        (show(name), vectors[labels == label])
        for name, label in zip(learned.classes, np.unique(labels), strict=True)
    ]
    others += [(show(other.name), other.vectors) for other in before]
    own = Taught(landmark.vectors, landmark.rejected).prototype
    found = []
    for name, shown in others:
        if learned.rule is not None and name.casefold() != show(landmark.name).casefold():
            alike = float(own @ Taught(shown, shown[:0]).prototype)
            found.append(Confusion(name, alike, bool(learned.rule.reached(len(before), own, shown).any())))
    return tuple(sorted(found, key=lambda one: (-one.confused, -one.similarity))[:_NAMED])
