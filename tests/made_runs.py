"""Run folders made by hand, for tests that need many runs without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from landmarks.training.config.settings import RunSettings
from landmarks.training.metrics.evaluate import Predictions, evaluate, write_evaluation
from landmarks.training.runs.folder import EpochRow, create_run, write_history

CLASSES = ("00.A", "01.B", "02.C")


def write_run(
    root: Path,
    settings: RunSettings,
    *,
    wrong: Sequence[int] = (),
    pictures: int = 12,
    folder: Path | None = None,
) -> None:
    """Write a finished run over `pictures` test pictures, whose answers are wrong at the positions `wrong`.

    The pictures are in class folders in the data of the settings, or all in `folder`.
    """
    run = create_run(root, settings)
    labels = np.arange(pictures) % len(CLASSES)
    predicted = labels.copy()
    predicted[list(wrong)] = (labels[list(wrong)] + 1) % len(CLASSES)
    probabilities = np.full((pictures, len(CLASSES)), 0.1, dtype=np.float32)
    probabilities[np.arange(pictures), predicted] = 0.8
    paths = tuple(
        (folder or settings.data / "test" / CLASSES[label]) / f"{number}.jpg"
        for number, label in enumerate(labels)
    )
    write_evaluation(evaluate(Predictions(probabilities, labels, CLASSES, paths)), root, "test")
    rows = [EpochRow(epoch, 0, 0.1, 1.0, 0.5, 1.0 / (epoch + 1), 0.6, 1.0, 100.0, True) for epoch in range(3)]
    write_history(run.history, rows)
    data = {"name": settings.data.name, "fingerprint": "0123456789abcdef"}
    info = {"architecture": "efficientnet_lite0", "data": data, "seconds": 66.0}
    run.info.write_text(json.dumps(info))
