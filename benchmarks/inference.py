"""Images/s of an exported model at batch 16: TorchScript, ONNX Runtime fp32 and int8, in one run.

Run `python benchmarks/inference.py INT8 FP32`, two model folders of one run made by `landmarks export`. The input
is prepared crops; TorchScript is given the network alone, without its resizing, and the ONNX models normalise too.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from record import record, table

from landmarks.imaging.preprocessing import normalize
from landmarks.model.recognizer import Recognizer
from landmarks.training.export.predictor import load_torchscript

BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("int8", type=Path)
    parser.add_argument("fp32", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    int8, fp32 = (Recognizer(folder, threads=given.threads) for folder in (given.int8, given.fp32))
    crop = int8.info.preprocessing.crop
    pictures = np.random.default_rng(0).integers(0, 256, (BATCH, crop, crop, 3), dtype=np.uint8)
    normalised = torch.from_numpy(normalize(pictures, int8.info.preprocessing))
    network = load_torchscript(given.fp32 / "model.pt").model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        frozen = torch.jit.optimize_for_inference(torch.jit.freeze(network.eval()))

    def script(module: torch.nn.Module) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return module(normalised)

        return run

    ways: dict[str, Callable[[], object]] = {
        "TorchScript": script(network),
        "TorchScript, frozen and optimised": script(frozen),
        "ONNX Runtime fp32": lambda: fp32.answer(pictures),
        "ONNX Runtime int8": lambda: int8.answer(pictures),
    }
    for way in ways.values():
        for _ in range(3):
            way()
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            way()
            speeds[name].append(2 * BATCH / (time.perf_counter() - started))
    base = speeds["TorchScript"]
    rows = []
    for name, values in speeds.items():
        ratio = statistics.median(mine / other for mine, other in zip(values, base, strict=True))
        rows.append(
            [name, f"{statistics.median(values):.0f}", f"{min(values):.0f} - {max(values):.0f}", f"{ratio:.2f}"]
        )
    body = table(["engine", "images/s, median", "from - to", "times TorchScript"], rows)
    body += (
        f"\n\n{int8.info.architecture}, batch {BATCH}, {given.threads} threads, {given.rounds} rounds in turns."
    )
    command = "python benchmarks/inference.py INT8 FP32"
    record("inference", "Inference speed", command, body, ["torch", "onnxruntime"])


if __name__ == "__main__":
    main()
