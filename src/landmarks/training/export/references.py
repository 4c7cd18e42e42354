"""Writes the reference of an exported model for search and few-shot learning: training images and negatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from landmarks.fewshot.reference import make_reference
from landmarks.model.folder import REFERENCE_FILE
from landmarks.model.ood import is_landmark
from landmarks.model.recognizer import Recognizer
from landmarks.training.data.folders import limit_evenly
from landmarks.training.data.loaders import Data, EvalTransform
from landmarks.training.export.calibration import TRAINING_PHOTOS
from landmarks.training.export.outputs import embeddings_of, outputs_of, readable_pictures


def write_reference(folder: Path, data: Data, negatives: Path) -> None:
    """Write the reference of an exported model into its folder, from the embeddings of the model itself.

    Args:
        folder: The model folder.
        data: Data whose training images fit the whitening, without those of the background class.
        negatives: Folder of photos without a landmark, which the model was not trained on.

    Raises:
        DataError: There is no readable negative.
        StorageError: The file cannot be written.
    """
    recognizer = Recognizer(folder, threads=torch.get_num_threads())
    crop = EvalTransform(recognizer.info.preprocessing).crop
    known = is_landmark(data.folder.classes)
    samples = limit_evenly([one for one in data.folder.train if known[one.label]], TRAINING_PHOTOS, seed=0)
    embeddings = embeddings_of(recognizer, (crop(data.cache.picture(sample.path)) for sample in samples))
    labels = np.array([sample.label for sample in samples])
    of_negatives = outputs_of(recognizer, readable_pictures(negatives, recognizer)).embeddings
    make_reference(embeddings, labels, of_negatives).save(folder / REFERENCE_FILE)
