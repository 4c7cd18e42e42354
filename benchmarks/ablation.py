"""Ablation of `MyModel` and its training: one change at a time, with the same seeds, split, epochs and steps.

Run `python benchmarks/ablation.py DATA`, DATA being an image folder. Accuracy and loss are those of the validation
images after the last epoch, with the averaged weights; the test split is never read. `--table optimizers` compares
optimisers alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from record import record, table
from torch import nn

from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import (
    AugmentSettings,
    DataSettings,
    LoopSettings,
    ModelSettings,
    OptimizationSettings,
    RunSettings,
)
from landmarks.training.data.loaders import Data, make_loaders, prepare_data
from landmarks.training.engine.train import optimize
from landmarks.training.models.model import MyModel, conv_norm
from landmarks.training.models.networks import NetworkOfRun
from landmarks.training.runs.folder import EpochRow, RunFolder


@dataclass(frozen=True)
class Variant:
    """One row: the difference from the default."""

    name: str
    model: dict[str, Any] = field(default_factory=dict)
    stem: Callable[[], nn.Module] | None = None
    augment: dict[str, Any] = field(default_factory=dict)
    optimization: dict[str, Any] = field(default_factory=dict)


PARTS = (
    Variant("default: widths 48-384, depths 1-1-2-1"),
    Variant("without squeeze-and-excitation", model={"attention": False}),
    Variant("stem of one 7 x 7 convolution, stride 4", stem=lambda: conv_norm(3, ModelSettings.widths[0], 7, 4)),
    Variant("narrower: widths 32-256", model={"widths": (32, 64, 128, 256)}),
    Variant("wider: widths 64-512", model={"widths": (64, 128, 256, 512)}),
    Variant("deeper: depths 2-2-2-2", model={"depths": (2, 2, 2, 2)}),
    Variant("crop and flip only", augment={"names": ("resized-crop", "flip")}),
    Variant("MixUp or CutMix too", augment={"names": (*AugmentSettings.names, "mixup", "cutmix")}),
    Variant(
        "colour jitter and rotation for TrivialAugment",
        augment={"names": ("resized-crop", "flip", "jitter", "rotation")},
    ),
)
OPTIMIZERS = (
    Variant("default: Muon, rate 2e-3"),
    Variant("AdamW, rate 2e-3", optimization={"optimizer": "adamw"}),
    Variant("AdamW, rate 4e-3", optimization={"optimizer": "adamw", "learning_rate": 4e-3}),
)
TABLES = {"parts": PARTS, "optimizers": OPTIMIZERS}
"""What is compared; the first of each is the default."""


def run(variant: Variant, data: Data, epochs: int, sizes: tuple[int, ...], seed: int) -> tuple[EpochRow, float]:
    """The last epoch and the seconds of training."""
    torch.manual_seed(seed)
    contract = fitting(data.preprocessing, sizes[-1])
    settings = RunSettings(
        data.folder.root,
        loading=DataSettings(seed=seed),
        augment=replace(AugmentSettings(sizes=sizes), **variant.augment),
        # The usual average of the weights looks back over a third of this short schedule.
        optimization=replace(OptimizationSettings(ema=0.99), **variant.optimization),
        loop=LoopSettings(epochs=epochs),
    )
    loaders = make_loaders(data, settings.loading, settings.augment, preprocessing=contract)
    network = NetworkOfRun(make(variant, data), variant.name, contract, data.folder.classes)
    with tempfile.TemporaryDirectory() as folder:
        rows = optimize(network, loaders, settings, RunFolder(Path(folder)))
    return rows[-1], sum(row.seconds for row in rows)


def fitting(preprocessing: Preprocessing, size: int) -> Preprocessing:
    """The preprocessing for a network that was trained on crops of `size` pixels.

    In the usual crop of 224 pixels, objects would appear far larger than in training. With a crop a quarter larger
    than the training crop they appear as large as in random crops (Touvron et al. 2019,
    https://arxiv.org/abs/1906.06423).
    """
    crop = round(1.25 * size)
    return replace(preprocessing, crop=crop, resize=round(crop * preprocessing.resize / preprocessing.crop))


def make(variant: Variant, data: Data) -> MyModel:
    """The network of a row."""
    network = MyModel(len(data.folder.classes), **variant.model)
    if variant.stem is not None:
        network.stem = variant.stem()
    return network


def row(
    variant: Variant, found: list[tuple[EpochRow, float]], usual: list[float], data: Data, *, default: bool
) -> list[str]:
    """One row: the difference from the default is the mean over the seeds, with its standard error."""
    accuracies = [last.valid_accuracy for last, _ in found]
    gains = [100 * (own - other) for own, other in zip(accuracies, usual, strict=True)]
    error = f" ± {statistics.stdev(gains) / len(gains) ** 0.5:.1f}" if len(gains) > 1 else ""
    return [
        variant.name,
        f"{statistics.mean(accuracies):.3f}",
        ", ".join(f"{one:.3f}" for one in accuracies),
        "-" if default else f"{statistics.mean(gains):+.1f}{error}",
        f"{statistics.mean(last.valid_loss for last, _ in found):.3f}",
        f"{statistics.median(seconds for _, seconds in found):.0f}",
        f"{sum(part.numel() for part in make(variant, data).parameters()) / 1e6:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--table", choices=TABLES, default="parts")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--sizes", default="64")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    sizes = tuple(int(word) for word in given.sizes.split(","))
    data = prepare_data(given.data, DataSettings(valid_size=0.3))  # the more pictures, the less chance
    variants = TABLES[given.table]
    found: dict[str, list[tuple[EpochRow, float]]] = {variant.name: [] for variant in variants}
    for seed in range(given.seeds):
        for variant in variants:
            last, seconds = run(variant, data, given.epochs, sizes, seed)
            found[variant.name].append((last, seconds))
            print(seed, variant.name, f"{last.valid_accuracy:.3f}", f"{seconds:.0f} s", flush=True)
    usual = [last.valid_accuracy for last, _ in found[variants[0].name]]
    header = [
        "variant",
        "validation accuracy, mean",
        "of each seed",
        "points more than the default",
        "validation loss",
        "seconds, median",
        "million parameters",
    ]
    rows = [row(one, found[one.name], usual, data, default=one is variants[0]) for one in variants]
    body = table(header, rows)
    body += (
        f"\n\n{given.data.name}: {len(data.folder.train)} training and {len(data.folder.valid)} validation "
        f"pictures, {given.epochs} epochs at {given.sizes} pixels. Seeds differ in initial weights, order and "
        "augmentation; ± is the standard error of the difference over the seeds."
    )
    command = "python benchmarks/ablation.py DATA"
    for key in ("table", "epochs", "sizes", "seeds"):
        command += f" --{key} {vars(given)[key]}"
    name = "ablation" if given.table == "parts" else f"ablation_{given.table}"
    record(name, "Ablation of training from scratch", command, body, ["torch"])


if __name__ == "__main__":
    main()
