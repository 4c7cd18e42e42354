"""Training on two processes of one machine compared with one process: the same accuracy within noise.

Run `python benchmarks/devices.py DATA`, DATA being an image folder. Trains from scratch with `--seeds` seeds on
one and on two CPU processes of one thread each, with the same global batch, and compares validation metrics.
The speed is meaningful only on a machine with idle cores.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from record import record, table

from landmarks.training.runs.folder import read_history


def train(data: Path, run: Path, devices: int, seed: int, flags: list[str]) -> tuple[float, float, float]:
    """Train; return validation accuracy and loss, and images/s."""
    words = [sys.executable, "-m", "landmarks", "train", str(data), "--out", str(run), "--devices", str(devices)]
    words += ["--accelerator", "cpu", "--threads", "1", "--seed", str(seed), *flags]
    subprocess.run(words, check=True, capture_output=True)
    rows = read_history(run / "metrics.csv")
    return rows[-1].valid_accuracy, rows[-1].valid_loss, statistics.median(r.images_per_second for r in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", default="12")
    given = parser.parse_args()
    flags = [
        "--method",
        "scratch",
        "--epochs",
        given.epochs,
        "--sizes",
        "64",
        "--batch-size",
        "32",
        "--limit",
        "800",
        "--ema",
        "0.9",
    ]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for devices in (1, 2):
            results = [
                train(given.data, Path(place) / f"{devices}-{seed}", devices, seed, flags)
                for seed in range(given.seeds)
            ]
            accuracy, loss, speed = zip(*results, strict=True)
            rows.append(
                [
                    devices,
                    f"{statistics.mean(accuracy):.3f} ({min(accuracy):.3f} to {max(accuracy):.3f})",
                    f"{statistics.mean(loss):.3f} ({min(loss):.3f} to {max(loss):.3f})",
                    f"{statistics.median(speed):.0f}",
                ]
            )
    header = ["processes", "validation accuracy, mean (from - to)", "validation loss", "pictures/s in training"]
    record(
        "devices",
        "Training on several processes",
        "python benchmarks/devices.py DATA" + (f" --seeds {given.seeds}" if given.seeds != 3 else ""),
        table(header, rows) + f"\n\n{given.epochs} epochs of 800 pictures, global batch 32, {given.seeds} seeds.",
        ["torch", "lightning-fabric"],
    )


if __name__ == "__main__":
    main()
