"""One ONNX file with the names of its classes and what to do with a photo before it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from landmarks.files.atomic import write_json, write_text
from landmarks.model.folder import ONNX_FILE, read_info
from landmarks.model.importing.preprocessing import PREPROCESSING_FILE

LABELS_FILE = "labels.txt"


def write_onnx_files(model: Path, folder: Path) -> None:
    """Write the ONNX file of a model folder, `labels.txt` and `preprocessing.json`.

    Args:
        model: A model folder.
        folder: The folder to fill.

    Raises:
        StorageError: A file cannot be written.
    """
    info = read_info(model)
    shutil.copy(model / ONNX_FILE, folder / ONNX_FILE)
    write_labels(folder / LABELS_FILE, info.classes)
    crop = info.preprocessing.crop
    description = {
        "precision": info.precision,
        "resize": {"short_side": info.preprocessing.resize, "filter": "bilinear", "antialias": True},
        "center_crop": crop,
        "input": {
            "name": "pictures",
            "dtype": "uint8",
            "layout": "NHWC",
            "shape": ["batch", crop, crop, 3],
            "channels": "RGB",
            "range": [0, 255],
            "normalization": "in the model",
        },
        "outputs": {
            "logits": "one per line of labels.txt; their softmax gives the probabilities",
            "embedding": "for search by cosine similarity",
        },
    }
    write_json(folder / PREPROCESSING_FILE, description)


def write_labels(path: Path, classes: Sequence[str]) -> None:
    """Write one class name per line, in the order of the logits; raises `StorageError` if it cannot."""
    write_text(path, "".join(f"{' '.join(name.split())}\n" for name in classes))
