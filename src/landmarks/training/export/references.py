"""Writes the reference of an exported model for search and few-shot learning: training images and negatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from landmarks.fewshot.reference import make_reference
from landmarks.model.folder import REFERENCE_FILE
from landmarks.model.ood import is_landmark
from landmarks.model.recognizer import Recognizer
from landmarks.training.data.loaders import Data
from landmarks.training.export.calibration import training_embeddings
from landmarks.training.export.outputs import outputs_by_folder


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
    known = is_landmark(data.folder.classes)
    landmarks = [sample for sample in data.folder.train if known[sample.label]]
    embeddings, labels = training_embeddings(recognizer, data, landmarks)
    groups = outputs_by_folder(recognizer, negatives).groups
    of_negatives = np.concatenate([group.embeddings for group in groups.values()])
    make_reference(embeddings, labels, of_negatives).save(folder / REFERENCE_FILE)
