"""What search and later learning need of an exported model: its training pictures and negatives as vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from landmarks.calibration import is_landmark
from landmarks.errors import DataError, ImageError
from landmarks.files import find_photos
from landmarks.preprocess import prepare
from landmarks.recognizer import Recognizer
from landmarks.reference import REFERENCE_FILE, make_reference
from landmarks.training.data import Data, EvalTransform

BATCH = 8


def write_reference(folder: Path, data: Data, negatives: Path) -> None:
    """Write the reference of an exported model into its folder, from the embeddings of the model itself.

    Args:
        folder: The model folder.
        data: Its training pictures teach the whitening; those of the background class are left out.
        negatives: Folder of photos without a landmark, which the model was not trained on.

    Raises:
        DataError: There is no readable negative.
        StorageError: The file cannot be written.
    """
    recognizer = Recognizer(folder, threads=torch.get_num_threads())
    crop = EvalTransform(recognizer.info.preprocessing).crop
    known = is_landmark(data.folder.classes)
    samples = [sample for sample in data.folder.train if known[sample.label]]
    embeddings = _embeddings(recognizer, (crop(data.cache.picture(sample.path)) for sample in samples))
    labels = np.array([sample.label for sample in samples])
    of_negatives = _embeddings(recognizer, _readable(negatives, recognizer))
    make_reference(embeddings, labels, of_negatives).save(folder / REFERENCE_FILE)


def _readable(folder: Path, recognizer: Recognizer) -> Iterator[NDArray[np.uint8]]:
    for photo in find_photos([folder]):
        try:
            yield prepare(photo, recognizer.info.preprocessing)
        except ImageError:
            continue  # as in `landmarks.training.thresholds`


def _embeddings(recognizer: Recognizer, pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    rows: list[NDArray[np.float32]] = []
    batch: list[NDArray[np.uint8]] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH:
            rows.append(recognizer.answer(np.stack(batch)).embeddings)
            batch = []
    if batch:
        rows.append(recognizer.answer(np.stack(batch)).embeddings)
    if not rows:
        raise DataError("there is no readable picture to make a reference of: check --negatives")
    return np.concatenate(rows)
