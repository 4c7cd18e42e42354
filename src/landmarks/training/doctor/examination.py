"""Examines every image of a data set, without changing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError
from landmarks.files.state import user_cache
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.jobs import DoctorSettings
from landmarks.training.data.cache import (
    BrokenPicture,
    PictureCache,
    Progress,
    build_cache,
)
from landmarks.training.data.folders import Listing, Sample, list_pictures
from landmarks.training.doctor.balance import ClassHealth, balance_note, class_health
from landmarks.training.doctor.copies import propose_copies
from landmarks.training.doctor.duplicates import difference_hash, group_duplicates
from landmarks.training.doctor.findings import PROBLEMS, Problem, Proposal, in_order
from landmarks.training.doctor.labels import find_label_issues, out_of_fold_probabilities
from landmarks.training.doctor.pictures import Measured, Picture, find_broken, read_header
from landmarks.training.doctor.shortcuts import Shortcuts, find_shortcuts
from landmarks.training.engine.loggers.base import Logger, Loggers
from landmarks.training.models.features import compute_embeddings
from landmarks.training.models.transfer import get_model_transfer_learning

BACKBONE = "efficientnet_lite0"
"""The frozen network whose embeddings are used to find similar images and odd labels."""


@dataclass(frozen=True)
class Diagnosis:
    """The result of an examination.

    Attributes:
        data: The data set.
        pictures: All of its images, readable or not.
        proposals: What to do about single images, in the order of the report.
        classes: Every class and its findings.
        shortcuts: Shortcut learning from the files alone, or None if there are too few images to measure it.
        notes: Sentences about the data set as a whole.
        measured: Measurements of the readable images.
    """

    data: Path
    pictures: tuple[Picture, ...]
    proposals: tuple[Proposal, ...]
    classes: tuple[ClassHealth, ...]
    shortcuts: Shortcuts | None
    notes: tuple[str, ...]
    measured: Measured = field(repr=False)

    def counts(self) -> dict[Problem, int]:
        """Return the number of proposals of each problem."""
        counted = Counter(one.problem for one in self.proposals)
        return {problem: counted[problem] for problem in PROBLEMS}


def examine(settings: DoctorSettings, logger: Logger | None = None) -> Diagnosis:
    """Examine a data set; its files are only read.

    Args:
        settings: The data set, and what counts as small.
        logger: Gets the stages and their progress.

    Raises:
        DataError: The folder is not a data set, or none of its images can be read.
        StorageError: The cache cannot be written.
    """
    log = logger or Loggers()
    listing = list_pictures(settings.data, settings.cache)
    log.stage("reading images")
    pictures = _with_headers(listing)
    paths = [picture.path for picture in pictures]
    cache = build_cache(paths, settings.cache or user_cache(), side=Preprocessing().resize, progress=log.progress)
    broken = find_broken(paths, cache)
    gone = {one.path for one in broken}
    readable = [picture for picture in pictures if picture.path not in gone]
    if not readable:
        raise DataError(f"{settings.data}: no picture shows anything ({broken[0].path}: {broken[0].reason})")
    measured = _measure(listing.classes, readable, cache, settings, log)
    log.stage("looking at classes and shortcuts")
    health = class_health(measured)
    proposals = [
        *_propose_broken(pictures, broken, listing.classes),
        *propose_copies(measured),
        *_propose_labels(measured),
        *_propose_small(measured, settings.min_side),
    ]
    return Diagnosis(
        settings.data,
        tuple(pictures),
        tuple(in_order(proposals)),
        tuple(health),
        find_shortcuts(measured, seed=settings.seed),
        (*_notes(readable, health), *listing.notes),
        measured,
    )


def _measure(
    classes: tuple[str, ...],
    pictures: Sequence[Picture],
    cache: PictureCache,
    settings: DoctorSettings,
    log: Logger,
) -> Measured:
    """Compute the measurements used by all parts of the examination."""
    log.stage("embedding images with a frozen backbone")
    embeddings = _embed(pictures, cache, settings.cache or user_cache(), log.progress)
    log.stage("looking for near-duplicates")
    hashes = np.array([difference_hash(cache.picture(picture.path)) for picture in pictures], dtype=np.uint64)
    groups = tuple(map(tuple, group_duplicates(hashes, embeddings)))
    log.stage("looking for wrong labels")
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    probabilities = out_of_fold_probabilities(
        embeddings, labels, groups, classes=len(classes), seed=settings.seed, progress=log.progress
    )
    return Measured(classes, tuple(pictures), hashes, embeddings, groups, probabilities)


def _with_headers(listing: Listing) -> list[Picture]:
    return [
        Picture(sample.path, sample.label, split, sample.source, *read_header(sample.path))
        for split, samples in listing.splits.items()
        for sample in samples
    ]


def _embed(
    pictures: Sequence[Picture], cache: PictureCache, folder: Path, progress: Progress
) -> NDArray[np.float32]:
    model, preprocessing = get_model_transfer_learning(BACKBONE, num_classes=2)
    samples = [Sample(picture.path, picture.label) for picture in pictures]
    embeddings = compute_embeddings(model, cache, samples, preprocessing, folder, progress=progress)
    return embeddings[:, 0]


def _propose_broken(
    pictures: Sequence[Picture], broken: Sequence[BrokenPicture], classes: Sequence[str]
) -> list[Proposal]:
    reasons = {one.path: one.reason for one in broken}
    return [
        Proposal(one.path, "broken", "quarantine", reasons[one.path], 1.0, classes[one.label], one.split)
        for one in pictures
        if one.path in reasons
    ]


def _propose_labels(measured: Measured) -> list[Proposal]:
    if measured.probabilities is None:
        return []
    proposals = []
    for issue in find_label_issues(measured.probabilities, measured.labels):
        picture = measured.pictures[issue.position]
        own, suggested = measured.classes[picture.label], measured.classes[issue.suggested]
        proposals.append(
            Proposal(
                path=picture.path,
                problem="label",
                action="move" if issue.confident else "look",
                evidence=f"looks like {suggested} with {issue.other:.0%}, like {own} with {issue.own:.0%}",
                score=issue.score,
                class_name=own,
                split=picture.split,
                suggested=suggested,
            )
        )
    return proposals


def _propose_small(measured: Measured, min_side: int) -> list[Proposal]:
    return [
        Proposal(
            path=one.path,
            problem="small",
            action="quarantine",
            evidence=f"{one.width} x {one.height} pixels, less than {min_side} on the short side",
            score=1 - min(one.width, one.height) / min_side,
            class_name=measured.classes[one.label],
            split=one.split,
        )
        for one in measured.pictures
        if min(one.width, one.height) < min_side
    ]


def _notes(pictures: Sequence[Picture], classes: Sequence[ClassHealth]) -> list[str]:
    notes = [note] if (note := balance_note(classes)) else []
    crop = Preprocessing().crop
    blurred = sum(min(one.width, one.height) < crop for one in pictures) / len(pictures)
    if blurred >= 0.25:
        notes.append(
            f"{blurred:.0%} of the pictures are smaller than the {crop} pixels a pretrained network looks at and "
            "are enlarged for it: larger ones would help"
        )
    return notes
