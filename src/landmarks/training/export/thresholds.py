"""An exported model learns how sure it is, and when to say "I don't know"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from landmarks.model.calibration import Calibration, Outputs, calibrate
from landmarks.model.ood import EmbeddingStatistics, ScoreKind, needs_statistics
from landmarks.model.recognizer import Recognizer
from landmarks.training.data.folders import Sample
from landmarks.training.data.loaders import Data, EvalTransform
from landmarks.training.export.outputs import outputs_of, readable_pictures


def calibrate_export(
    folder: Path, data: Data, negatives: Path, *, score: ScoreKind, target_fpr: float
) -> Calibration:
    """Fit temperature and threshold of an exported model, on the model itself.

    Args:
        folder: The model folder.
        data: Its validation pictures fit the temperature, its training pictures tell where the classes lie among
            the embeddings.
        negatives: Folder of photos without a landmark, which the model was not trained on.
        score: What tells the unknown.
        target_fpr: Share of photos without a landmark that may get a tag, in (0, 1).

    Raises:
        DataError: There are too few readable negatives for the promise.
    """
    recognizer = Recognizer(folder, threads=torch.get_num_threads())
    crop = EvalTransform(recognizer.info.preprocessing).crop

    def cached(samples: Sequence[Sample]) -> Outputs:
        return outputs_of(recognizer, (crop(data.cache.picture(sample.path)) for sample in samples))

    valid = cached(data.folder.valid)
    statistics = None
    if needs_statistics(score):
        labels = np.array([sample.label for sample in data.folder.train])
        embeddings = cached(data.folder.train).embeddings
        statistics = EmbeddingStatistics.fit(embeddings, labels, len(data.folder.classes))
    return calibrate(
        valid,
        np.array([sample.label for sample in data.folder.valid]),
        outputs_of(recognizer, readable_pictures(negatives, recognizer)),
        recognizer.info.classes,
        score=score,
        target_fpr=target_fpr,
        statistics=statistics,
    )
