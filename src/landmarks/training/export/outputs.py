"""Outputs of an exported model for images: logits and embeddings, for thresholds and references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError, ImageError
from landmarks.imaging.preprocessing import prepare
from landmarks.model.calibration import ORDINARY, Outputs, negatives_by_folder
from landmarks.model.recognizer import Recognizer

BATCH = 8


@dataclass(frozen=True)
class FolderOutputs:
    """Outputs of a model for the photos of a folder.

    Attributes:
        groups: Of the photos in each subfolder, by name; those directly in the folder are another group, named
            after it. A group without a readable photo is left out.
        unreadable: The photos that cannot be read.
        known: Names of subfolders that were left out.
    """

    groups: dict[str, Outputs]
    unreadable: tuple[Path, ...]
    known: tuple[str, ...] = ()


def outputs_of(recognizer: Recognizer, pictures: Iterable[NDArray[np.uint8]]) -> Outputs:
    """Return the outputs of a model for prepared images (S, S, 3) uint8, in their order.

    Raises:
        DataError: There is no image.
    """
    rest = iter(pictures)
    answers = []
    while batch := list(islice(rest, BATCH)):
        answers.append(recognizer.answer(np.stack(batch)))
    if not answers:
        raise DataError("there is no image to calibrate on: give some")
    return Outputs(
        np.concatenate([answer.logits for answer in answers]),
        np.concatenate([answer.embeddings for answer in answers]),
    )


def embeddings_of(recognizer: Recognizer, pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the embeddings (N, D) of prepared images, at least one, without keeping their logits (N, K)."""
    rest = iter(pictures)
    found = []
    while batch := list(islice(rest, BATCH)):
        found.append(recognizer.answer(np.stack(batch)).embeddings)
    return np.concatenate(found)


def outputs_by_folder(recognizer: Recognizer, folder: Path, what: str = ORDINARY) -> FolderOutputs:
    """Return the outputs of a model for the photos in each subfolder that is not named like one of its landmarks.

    Args:
        recognizer: The model.
        folder: The folder.
        what: What its photos should be, for messages.

    Raises:
        DataError: There is no readable photo at all, or none of an unknown landmark.
    """
    groups, known = negatives_by_folder(folder, recognizer.info.classes, what)
    found: dict[str, Outputs] = {}
    unreadable: list[Path] = []
    for name, photos in groups.items():
        broken: list[Path] = []
        pictures = _readable(photos, recognizer, broken)
        if (first := next(pictures, None)) is not None:
            found[name] = outputs_of(recognizer, chain([first], pictures))
        unreadable += broken
    if not found:
        raise DataError(f"{folder}: no photo in it can be read ({unreadable[0]}): give a folder of photos {what}")
    return FolderOutputs(found, tuple(unreadable), known)


def _readable(photos: Iterable[Path], recognizer: Recognizer, broken: list[Path]) -> Iterator[NDArray[np.uint8]]:
    """Yield the readable photos, prepared for a model, and add the others to `broken`."""
    for photo in photos:
        try:
            yield prepare(photo, recognizer.info.preprocessing)
        except ImageError:
            broken.append(photo)
