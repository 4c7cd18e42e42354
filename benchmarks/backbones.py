"""Small backbones of timm by size and speed, with random weights: what `--backbone NAME --weights FILE` costs.

Run `python benchmarks/backbones.py`; it needs neither pictures nor a network. Each backbone gets a head for 34
classes and goes the way of `landmarks export`: batch norms folded, branches merged, ONNX, int8. Speeds are images
per second of processor time on one thread, so that other work on the machine changes them little. Random weights
have the speed of trained ones; accuracy cannot be measured with them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from record import record, table

from landmarks.imaging.preprocessing import normalize
from landmarks.training.export.quantization import quantize
from landmarks.training.models.onnx_graph import write_onnx
from landmarks.training.models.transfer import TransferModel, get_model_transfer_learning

BACKBONES = (
    "efficientnet_lite0",
    "efficientnet_lite2",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "fastvit_t8",
    "repvit_m1_0",
    "efficientformerv2_s2",
)
CLASSES = 34
BATCH = 8
CALIBRATION = 8
"""Pictures that set the ranges of int8, which change neither size nor speed."""


def per_second(work: Callable[[], object], images: int, seconds: float) -> float:
    """Images per second of processor time; the best of the passes that fit into `seconds`, at least three."""
    work()  # warm-up
    spent: list[float] = []
    while len(spent) < 3 or sum(spent) < seconds:
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return images / min(spent)


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def step_of(model: TransferModel, inputs: torch.Tensor) -> Callable[[], None]:
    """Return one step of fine-tuning: forward, backward, update."""
    model.unfreeze()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-9)
    labels = torch.arange(len(inputs)) % CLASSES

    def step() -> None:
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measured(name: str, seconds: float, folder: Path) -> list[str]:
    """Return the row of a backbone."""
    torch.manual_seed(0)
    model, preprocessing = get_model_transfer_learning(name, CLASSES, pretrained=False)
    side = preprocessing.crop
    pictures: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    inputs = torch.from_numpy(normalize(pictures, preprocessing)).contiguous(memory_format=torch.channels_last)
    plain, small = folder / f"{name}.onnx", folder / f"{name}.int8.onnx"
    write_onnx(model, preprocessing, plain)
    with torch.no_grad():
        trained = model.eval()(inputs).numpy()
    fp32, one = session(plain), {"pictures": pictures[:1]}
    difference = float(np.abs(fp32.run(["logits"], {"pictures": pictures})[0] - trained).max())
    quantize(plain, small, list(pictures[:CALIBRATION]))
    int8 = session(small)
    speeds = (
        per_second(lambda: int8.run(None, one), 1, seconds),
        per_second(lambda: fp32.run(None, one), 1, seconds),
        per_second(step_of(model.to(memory_format=torch.channels_last), inputs), BATCH, seconds),
    )
    return [
        name,
        f"{sum(one.numel() for one in model.backbone.parameters()) / 1e6:.1f}",
        str(model.embedding_size),
        f"{small.stat().st_size / 1e6:.1f}",
        *(f"{speed:.1f}" for speed in speeds),
        f"{difference:.0e}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=BACKBONES, help="networks of timm")
    parser.add_argument("--seconds", type=float, default=3.0, help="processor time per measurement")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for name in given.names:
            rows.append(measured(name, given.seconds, Path(folder)))
            print(*rows[-1], flush=True)
    header = [
        "backbone",
        "parameters, million",
        "features",
        "int8 export, MB",
        "int8, images/s",
        "fp32, images/s",
        "fine-tuning, images/s",
        "ONNX differs by",
    ]
    body = table(header, rows)
    body += (
        "\n\nRandom weights; pictures of 224 pixels; images per second of processor time on one thread. int8 and "
        "fp32: ONNX Runtime, one picture at a time, without decoding. Fine-tuning: forward, backward and step of "
        f"all weights in 32 bits, batches of {BATCH}. The last column is the largest difference of a logit "
        "between PyTorch and the fp32 export."
    )
    record(
        "backbones", "Small backbones", "python benchmarks/backbones.py", body, ["torch", "timm", "onnxruntime"]
    )


if __name__ == "__main__":
    main()
