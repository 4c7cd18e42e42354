"""What an exported model itself says of pictures: logits and embeddings, for thresholds and references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError, ImageError
from landmarks.imaging.photos import find_photos
from landmarks.imaging.preprocessing import prepare
from landmarks.model.calibration import Outputs
from landmarks.model.recognizer import Recognizer

BATCH = 8


def outputs_of(recognizer: Recognizer, pictures: Iterable[NDArray[np.uint8]]) -> Outputs:
    """Return the outputs of a model for prepared pictures (S, S, 3) uint8, in their order.

    Raises:
        DataError: There is no picture.
    """
    rest = iter(pictures)
    answers = []
    while batch := list(islice(rest, BATCH)):
        answers.append(recognizer.answer(np.stack(batch)))
    if not answers:
        raise DataError("there is no readable photo among the negatives: give a folder with photos of no landmark")
    return Outputs(
        np.concatenate([answer.logits for answer in answers]),
        np.concatenate([answer.embeddings for answer in answers]),
    )


def readable_pictures(folder: Path, recognizer: Recognizer) -> Iterator[NDArray[np.uint8]]:
    """Give the photos of a folder, prepared for a model; one broken photo more or less changes nothing."""
    for photo in find_photos([folder]):
        try:
            yield prepare(photo, recognizer.info.preprocessing)
        except ImageError:
            continue
