"""Differences between the answers of OpenVINO and ONNX Runtime, for a model folder and photos.

Run `python benchmarks/engines.py PHOTOS [--model MODEL ...]`; it needs the extra `openvino`. OpenVINO is compared
with ONNX Runtime without graph optimisations too, which computes each operation as in the file: engines that fuse
operations round at different points, and neither is wrong. The table is printed and written to
benchmarks/results/engines.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from record import record, table

from landmarks.imaging.photos import find_photos
from landmarks.imaging.preprocessing import prepare
from landmarks.model.folder import DEFAULT_MODEL, ONNX_FILE, find_model
from landmarks.model.probabilities import softmax
from landmarks.model.recognizer import Recognizer

Pictures = NDArray[np.uint8]

ASKED = 0.01
BATCH = 4


def probabilities(batches: Sequence[Pictures], recognizer: Recognizer) -> NDArray[np.float32]:
    """(N, K), probabilities of a recogniser."""
    return np.concatenate([recognizer.answer(batch).probabilities for batch in batches])


def as_the_file_has_it(batches: Sequence[Pictures], recognizer: Recognizer) -> NDArray[np.float64]:
    """(N, K), probabilities of ONNX Runtime without optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        str(recognizer.folder / ONNX_FILE), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    logits = np.concatenate([session.run(["logits"], {name: batch})[0] for batch in batches])
    return softmax(logits, recognizer.info.temperature)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", nargs="+", default=[DEFAULT_MODEL])
    given = parser.parse_args()
    photos, rows = find_photos([given.photos]), []
    for name in given.model:
        usual = Recognizer(find_model(name))
        batches = [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]
        prepared = [np.stack([prepare(photo, usual.info.preprocessing) for photo in batch]) for batch in batches]
        expected = probabilities(prepared, usual)
        others = {
            "OpenVINO": probabilities(prepared, Recognizer(find_model(name), engine="openvino")),
            "ONNX Runtime, not optimised": as_the_file_has_it(prepared, usual),
        }
        for engine, found in others.items():
            gap = np.abs(expected - found).max(axis=1)
            cells = [f"{(expected.argmax(axis=1) == found.argmax(axis=1)).mean():.2%}"]
            cells += [f"{(gap <= ASKED).mean():.2%}"]
            cells += [f"{np.quantile(gap, share):.1e}" for share in (0.5, 0.95, 1)]
            rows.append([Path(name).name, usual.info.precision, engine, *cells])
    header = [
        "model",
        "precision",
        "engine",
        "same likeliest class",
        f"within {ASKED}",
        "median",
        "95 %",
        "largest",
    ]
    body = table(header, rows) + "\n\nChange of a probability against ONNX Runtime as it is "
    body += f"used, over {len(photos)} photos, largest of all classes."
    command = "python benchmarks/engines.py PHOTOS [--model MODEL ...]"
    record("engines", "OpenVINO beside ONNX Runtime", command, body, ["onnxruntime", "openvino"])


if __name__ == "__main__":
    main()
