"""Checks of the classes: too small, imbalanced, odd, overlapping, or not a place at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import counted
from landmarks.geo.gazetteer import Gazetteer
from landmarks.model.ood import is_landmark
from landmarks.training.doctor.labels import confident_joint
from landmarks.training.doctor.pictures import Measured

FEW = 20
"""A class with fewer training images is hard to learn and harder to measure."""

UNEVEN = 10
"""A largest class with this many times the images of the smallest is reported."""

_OVERLAP = 0.15  # fraction of a class that confidently looks like one other
_OUTLIER = 3.0  # robust deviations below the median class


@dataclass(frozen=True)
class ClassHealth:
    """One class and what is odd about it.

    Attributes:
        name: The class.
        counts: Readable images by split.
        recognised: Fraction of its images that a classifier trained without them recognises, or None.
        coherence: Mean cosine between its images and their mean direction, or None for fewer than two.
        notes: Findings in words; empty for a healthy class.
    """

    name: str
    counts: dict[str, int]
    recognised: float | None
    coherence: float | None
    notes: tuple[str, ...]


def class_health(measured: Measured) -> list[ClassHealth]:
    """Check every class of a data set, in order."""
    classes, labels, probabilities = measured.classes, measured.labels, measured.probabilities
    embeddings, splits = measured.embeddings, [picture.split for picture in measured.pictures]
    counted = [Counter[str]() for _ in classes]
    for split, label in zip(splits, labels.tolist(), strict=True):
        counted[label][split] += 1
    coherence = [_coherence(embeddings[labels == k]) for k in range(len(classes))]
    recognised: list[float | None] = [None] * len(classes)
    joint = np.zeros((len(classes),) * 2, dtype=np.int64)
    if probabilities is not None:
        joint = confident_joint(probabilities, labels)
        hits = probabilities.argmax(axis=1) == labels
        recognised = [
            float(hits[labels == k].mean()) if (labels == k).any() else None for k in range(len(classes))
        ]
    np.fill_diagonal(joint, 0)
    low_recognised, low_coherence = _outliers(recognised), _outliers(coherence)
    present = sorted(set(splits))
    places = _place_notes(classes)
    health = []
    for k, name in enumerate(classes):
        total = sum(counted[k].values())
        like = int(joint[k].argmax())
        share = float(joint[k, like] / total) if total else 0.0
        notes = [*_count_notes(counted[k], present), *places[k]]
        if low_recognised[k]:
            notes.append(f"recognised far more rarely than the other classes ({recognised[k]:.0%})")
        if low_coherence[k]:
            notes.append("its pictures have far less in common than those of other classes")
        if share >= _OVERLAP:
            notes.append(f"{share:.0%} of its pictures look like {classes[like]}: are they one place?")
        health.append(ClassHealth(name, dict(counted[k]), recognised[k], coherence[k], tuple(notes)))
    return health


def balance_note(health: Sequence[ClassHealth]) -> str | None:
    """Return a sentence on classes of very different size, or None."""
    sizes = {one.name: sum(count for split, count in one.counts.items() if split != "test") for one in health}
    most, least = max(sizes, key=lambda name: sizes[name]), min(sizes, key=lambda name: sizes[name])
    if sizes[most] < UNEVEN * max(1, sizes[least]):
        return None
    return (
        f"{most} has {sizes[most]} training pictures and {least} has {sizes[least]}: add pictures of the small "
        "classes, or train with --head cosine --margin 0.05 --rare-margin 0.5, or with --sampler balanced"
    )


def _coherence(embeddings: NDArray[np.float32]) -> float | None:
    # |mean of unit vectors| is the mean cosine to their mean direction.
    return float(np.linalg.norm(embeddings.mean(axis=0))) if len(embeddings) > 1 else None


def _outliers(values: Sequence[float | None]) -> list[bool]:
    """Return which values are `_OUTLIER` robust deviations (1.4826 MAD) below the median."""
    known = np.array([value for value in values if value is not None])
    if len(known) < 5:
        return [False] * len(values)
    median = float(np.median(known))
    # If most classes are equal to the last digit, a tiny deviation must not count.
    spread = max(0.02, 1.4826 * float(np.median(np.abs(known - median))))
    return [value is not None and value < median - _OUTLIER * spread for value in values]


def _count_notes(counts: Counter[str], present: Sequence[str]) -> list[str]:
    if not counts.total():
        return ["no readable picture"]
    notes = [f"no picture in {split}" for split in present if split and not counts[split]]
    training = counts.total() - counts["test"]
    if 0 < training < FEW:
        notes.append(f"only {counted(training, 'training picture')}")
    return notes


def _place_notes(classes: Sequence[str]) -> list[list[str]]:
    """Report classes that are not places; unknown names are reported only if the gazetteer has most others."""
    gazetteer = Gazetteer.bundled()
    places = [gazetteer.find(name) for name in classes]
    knows_most = 2 * sum(place is not None for place in places) > len(places)
    notes: list[list[str]] = []
    for place, landmark in zip(places, is_landmark(classes), strict=True):
        if not landmark:
            notes.append([])
        elif place is None:
            notes.append(["the gazetteer does not know this name: is it one landmark?"] if knows_most else [])
        elif place.is_thing:
            notes.append([f"names a kind of thing ({place.kind}), not one landmark"])
        else:
            notes.append([])
    return notes
