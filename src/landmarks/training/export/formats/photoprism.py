"""A custom classification model for PhotoPrism, which runs label models in ONNX Runtime.

It takes one graph with one output of fixed width, `labels.txt`, and an entry in `vision.yml`:
https://docs.photoprism.app/developer-guide/vision/label-models/#custom-models
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from landmarks.errors import RunError
from landmarks.files.atomic import write_bytes, write_text
from landmarks.geo.gazetteer import Gazetteer
from landmarks.imaging.preprocessing import Preprocessing, prepare
from landmarks.model.engines import open_session
from landmarks.model.folder import ONNX_FILE, read_info
from landmarks.model.probabilities import softmax
from landmarks.model.recognizer import Recognizer
from landmarks.training.export.export import require_same
from landmarks.training.export.formats.onnx_file import LABELS_FILE, write_labels

DESCRIPTION_FILE = "vision.yml"


def write_photoprism(model: Path, pictures: Sequence[NDArray[np.uint8]], folder: Path, name: str) -> float:
    """Write the graph, `labels.txt` and `vision.yml`.

    Args:
        model: A model folder.
        pictures: Images (H, W, 3) on which the new graph is compared with that of the folder.
        folder: The folder to fill.
        name: Name of the model; PhotoPrism writes it in lower-case letters, digits and underscores.

    Returns:
        The maximum difference in probability between the two graphs.

    Raises:
        RunError: Nothing is left of the name.
        ExportError: The graphs do not predict the same.
        StorageError: A file cannot be written.
    """
    slug = photoprism_name(name)
    info, file = read_info(model), f"{slug}.onnx"
    graph = _one_output(onnx.load(model / ONNX_FILE), len(info.classes), info.preprocessing.crop)
    write_bytes(folder / file, graph.SerializeToString())
    shown = [Gazetteer.bundled().display_name(name) for name in info.classes]
    # A class keeps its own name where two would look the same.
    counts = Counter(shown)
    labels = [text if counts[text] == 1 else name for text, name in zip(shown, info.classes, strict=True)]
    write_labels(folder / LABELS_FILE, labels)
    write_text(folder / DESCRIPTION_FILE, _description(slug, file, info.preprocessing))

    crops = np.stack([prepare(picture, info.preprocessing) for picture in pictures])
    session = open_session(folder / file)
    logits = [session.run(None, {"pictures": crop[None].astype(np.float32)})[0] for crop in crops]
    probabilities = softmax(np.concatenate(logits)).astype(np.float32)
    return require_same("PhotoPrism", Recognizer(model).answer(crops).probabilities, probabilities)


def photoprism_name(name: str) -> str:
    """Return a name in lower-case letters, digits and underscores; raises `RunError` if nothing is left of it."""
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not slug:
        raise RunError(f"PhotoPrism allows the letters a to z and digits in a name, not {name!r}: give a `name`")
    return slug


def _one_output(model: onnx.ModelProto, classes: int, crop: int) -> onnx.ModelProto:
    """Change a graph in place: one float image in, its logits out.

    PhotoPrism fills its input with 32-bit floats; the first step of the graph is a cast to them, which keeps them.
    """
    graph = model.graph
    picture = graph.input[0].type.tensor_type
    picture.elem_type = TensorProto.FLOAT
    for axis, length in zip(picture.shape.dim, (1, crop, crop, 3), strict=True):
        axis.dim_value = length
    del graph.output[1:]
    for axis, length in zip(graph.output[0].type.tensor_type.shape.dim, (1, classes), strict=True):
        axis.dim_value = length
    del graph.value_info[:]  # they repeat the free batch size
    return model


def _description(name: str, file: str, preprocessing: Preprocessing) -> str:
    return f"""\
# Merge into storage/config/vision.yml; mount this folder as /opt/photoprism/assets/models/{name}
Models:
  - Type: labels
    Name: {json.dumps(name)}
    Engine: onnx
    Run: on-index
    LabelFile: {LABELS_FILE}
    ONNX:
      File: {json.dumps(file)}
      Input:
        Width: {preprocessing.crop}
        Height: {preprocessing.crop}
        Layout: NHWC
        ColorOrder: RGB
        # The model normalises by itself.
        Normalization:
          Mean: [0, 0, 0]
          StdDev: [1, 1, 1]
        Resize:
          Mode: center-crop
          ShortEdge: {preprocessing.resize}
          Interpolation: linear
      Output:
        Logits: true
"""
