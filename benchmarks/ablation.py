"""Ablation of `MyModel` and its training: one change at a time, on a short schedule.

Run `python benchmarks/ablation.py DATA`, DATA being an image folder. Each row trains from scratch with the same
seed, split, epochs and steps; accuracy and loss are those of the validation images after the last epoch, with
the averaged weights. The test split is never read.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from record import record, table
from short_training import Short, millions, train_short

from landmarks.training.config.settings import AugmentSettings, DataSettings, OptimizationSettings
from landmarks.training.data.loaders import Data, prepare_data
from landmarks.training.models.model import MyModel
from landmarks.training.runs.folder import EpochRow


@dataclass(frozen=True)
class Variant:
    """One row: the difference from the default."""

    name: str
    model: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    optimization: dict[str, Any] = field(default_factory=dict)


VARIANTS = (
    Variant("default: widths 48-384, depths 1-1-2-1"),
    Variant("without squeeze-and-excitation", model={"attention": False}),
    Variant("narrower: widths 32-256", model={"widths": (32, 64, 128, 256)}),
    Variant("wider: widths 64-512", model={"widths": (64, 128, 256, 512)}),
    Variant("deeper: depths 2-2-2-2", model={"depths": (2, 2, 2, 2)}),
    Variant("stochastic depth 0.1", model={"drop_path": 0.1}),
    Variant("crop and flip only", augment={"names": ("resized-crop", "flip")}),
    Variant("without MixUp and CutMix", augment={"names": ("resized-crop", "flip", "trivial")}),
    Variant(
        "colour jitter and rotation for TrivialAugment",
        augment={"names": ("resized-crop", "flip", "jitter", "rotation", "mixup", "cutmix")},
    ),
    Variant(
        "SGD, Nesterov, rate 0.1, decay 5e-4",
        optimization={"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4},
    ),
)


def run(variant: Variant, data: Data, epochs: int, sizes: tuple[int, ...]) -> tuple[EpochRow, float, float]:
    """The last epoch, the seconds of training and the millions of parameters."""
    torch.manual_seed(0)
    model = MyModel(len(data.folder.classes), **variant.model)
    augment = replace(AugmentSettings(sizes=sizes), **variant.augment)
    # The usual average of the weights looks back further than this short schedule lasts.
    optimization = replace(OptimizationSettings(ema=0.98), **variant.optimization)
    rows = train_short(model, data, Short(augment, optimization, epochs))
    return rows[-1], sum(row.seconds for row in rows), millions(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--sizes", default="96")
    given = parser.parse_args()
    sizes = tuple(int(word) for word in given.sizes.split(","))
    data = prepare_data(given.data, DataSettings())
    rows = []
    for variant in VARIANTS:
        last, seconds, millions = run(variant, data, given.epochs, sizes)
        rows.append(
            [
                variant.name,
                f"{last.valid_accuracy:.3f}",
                f"{last.valid_loss:.3f}",
                f"{seconds:.0f}",
                f"{millions:.1f}",
            ]
        )
        print(*rows[-1], sep="  ", flush=True)
    count = len(data.folder.valid)
    body = table(["variant", "validation accuracy", "validation loss", "seconds", "million parameters"], rows)
    body += (
        f"\n\n{given.data.name}: {len(data.folder.train)} training and {count} validation pictures, "
        f"{given.epochs} epochs at {given.sizes} pixels, one seed. Differences of accuracy "
        f"under about {(0.25 / count) ** 0.5:.3f} are within the noise of a validation split of this size."
    )
    command = f"python benchmarks/ablation.py DATA --epochs {given.epochs} --sizes {given.sizes}"
    record("ablation", "Ablation of training from scratch", command, body, ["torch"])


if __name__ == "__main__":
    main()
