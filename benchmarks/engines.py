"""How far the answers of OpenVINO are from those of ONNX Runtime, for a model folder and photos.

Run `python benchmarks/engines.py PHOTOS [--model MODEL ...]`; it needs the extra `openvino`. The table goes to the
screen and to benchmarks/results/engines.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from record import record, table

from landmarks.files import find_photos
from landmarks.model_folder import find_model
from landmarks.preprocess import prepare
from landmarks.recognizer import Recognizer

ASKED = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", nargs="+", default=["world34"])
    given = parser.parse_args()
    photos, rows = find_photos([given.photos]), []
    for name in given.model:
        usual, other = (Recognizer(find_model(name), engine=engine) for engine in ("onnxruntime", "openvino"))
        gaps, same = [], []
        for start in range(0, len(photos), 4):
            batch = photos[start : start + 4]
            pictures = np.stack([prepare(photo, usual.info.preprocessing) for photo in batch])
            one, two = usual.answer(pictures).probabilities, other.answer(pictures).probabilities
            gaps.append(np.abs(one - two).max(axis=1))
            same.append(one.argmax(axis=1) == two.argmax(axis=1))
        gap, agree = np.concatenate(gaps), np.concatenate(same)
        cells = [f"{np.quantile(gap, share):.1e}" for share in (0.5, 0.95, 1)]
        precision = usual.info.precision
        rows.append([Path(name).name, precision, f"{agree.mean():.2%}", f"{(gap <= ASKED).mean():.2%}", *cells])
    header = ["model", "precision", "same likeliest class", f"within {ASKED}", "median", "95 %", "largest"]
    body = table(header, rows) + f"\n\nChange of a probability over {len(photos)} photos, largest of all classes."
    command = "python benchmarks/engines.py PHOTOS [--model MODEL ...]"
    record("engines", "OpenVINO beside ONNX Runtime", command, body, ["onnxruntime", "openvino"])


if __name__ == "__main__":
    main()
