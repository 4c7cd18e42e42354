"""Compares architectures, augmentations and optimisers: every combination, on a short schedule.

Run `python benchmarks/architectures.py DATA`, DATA being an image folder such as world34. Three networks, three
augmentations and two optimisers are 18 trainings of about a minute. Each result is stored in
benchmarks/results/architectures.csv as soon as it is finished, and stored ones are not trained again, so the
command can be stopped at any time, or after `--minutes`, and continues where it stopped. Remove the file to start
over. The table is written to benchmarks/results/architectures.md; the notebook `cnn_from_scratch` reads the CSV.

`--long` trains the two that differ only in squeeze-and-excitation for longer, with and without MixUp and CutMix,
and stores them in the same files.

Accuracy and loss are those of the validation images, split off `train`, after the last epoch. The test split is
never read.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import torch
from record import RESULTS, record, table
from short_training import Short, millions, train_short
from torch import nn

from landmarks.training.config.settings import (
    AugmentationName,
    AugmentSettings,
    DataSettings,
    OptimizationSettings,
)
from landmarks.training.data.loaders import Data, prepare_data
from landmarks.training.models.model import MyModel, conv_norm

FILE = RESULTS / "architectures.csv"
COLUMNS = ("schedule", "architecture", "augmentation", "optimizer")
FIGURES = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds", "million_parameters")


def plain_network(num_classes: int) -> nn.Module:
    """The 3 x 3 convolutions of `MyModel` in one row: no shortcut, no attention."""
    channels = (3, 24, 48, 48, 48, 96, 96, 192, 192, 192, 192, 384, 384)
    halves = {0, 1, 4, 6, 10}  # the convolutions that halve height and width
    convolutions = [
        conv_norm(inputs, outputs, stride=2 if number in halves else 1)
        for number, (inputs, outputs) in enumerate(pairwise(channels))
    ]
    return nn.Sequential(
        *convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], num_classes)
    )


ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "MyModel": MyModel,
    "MyModel without squeeze-and-excitation": lambda classes: MyModel(classes, attention=False),
    "plain, without shortcuts": plain_network,
}
AUGMENTATIONS: dict[str, tuple[AugmentationName, ...]] = {
    "crop, flip": ("resized-crop", "flip"),
    "crop, flip, TrivialAugment": ("resized-crop", "flip", "trivial"),
    "crop, flip, TrivialAugment, MixUp or CutMix": ("resized-crop", "flip", "trivial", "mixup", "cutmix"),
}
# The usual average of the weights looks back further than these schedules last.
OPTIMIZERS = {
    "AdamW, rate 0.002": OptimizationSettings(ema=0.98),
    "SGD, Nesterov, rate 0.1": OptimizationSettings(
        optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, ema=0.98
    ),
}


BATCH = 16  # small batches give a short schedule enough steps


@dataclass(frozen=True)
class Schedule:
    """How long, at which size in pixels, on how many training images."""

    epochs: int
    size: int
    pictures: int

    def __str__(self) -> str:
        return f"{self.epochs} epochs of {self.pictures} pictures at {self.size} pixels"


@dataclass(frozen=True)
class Variant:
    """One training: its names in the table, and how long it lasts."""

    architecture: str
    augmentation: str
    optimizer: str
    schedule: Schedule

    @property
    def names(self) -> tuple[str, ...]:
        """Return the key of its row."""
        return (str(self.schedule), self.architecture, self.augmentation, self.optimizer)

    def train(self, data: Data) -> dict[str, float]:
        """Train it and return its metrics."""
        torch.manual_seed(0)
        model = ARCHITECTURES[self.architecture](len(data.folder.classes))
        augment = AugmentSettings(names=AUGMENTATIONS[self.augmentation], sizes=(self.schedule.size,))
        how = Short(augment, OPTIMIZERS[self.optimizer], self.schedule.epochs, batch_size=BATCH)
        rows = train_short(model, data, how)
        last = rows[-1]
        seconds = sum(row.seconds for row in rows)
        figures = (last.train_loss, last.train_accuracy, last.valid_loss, last.valid_accuracy, seconds)
        return dict(zip(FIGURES, (*figures, millions(model)), strict=True))


def short_variants(schedule: Schedule) -> Iterator[Variant]:
    """Every combination."""
    for architecture, augmentation, optimizer in product(ARCHITECTURES, AUGMENTATIONS, OPTIMIZERS):
        yield Variant(architecture, augmentation, optimizer, schedule)


def long_variants(schedule: Schedule) -> Iterator[Variant]:
    """With and without squeeze-and-excitation, with and without MixUp and CutMix."""
    for architecture, augmentation in product(list(ARCHITECTURES)[:2], list(AUGMENTATIONS)[1:]):
        yield Variant(architecture, augmentation, next(iter(OPTIMIZERS)), schedule)


def read() -> dict[tuple[str, ...], dict[str, float]]:
    """Return the stored results."""
    if not FILE.is_file():
        return {}
    with FILE.open(encoding="utf-8", newline="") as file:
        return {
            tuple(line[name] for name in COLUMNS): {name: float(line[name]) for name in FIGURES}
            for line in csv.DictReader(file)
        }


def note(known: dict[tuple[str, ...], dict[str, float]]) -> None:
    """Write all results."""
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *FIGURES])
        for names, figures in known.items():
            writer.writerow([*names, *(f"{figures[name]:.4f}" for name in FIGURES)])


def write_table(known: dict[tuple[str, ...], dict[str, float]], data: Data, command: str, left: int) -> None:
    """Write the table of each schedule, best first; `left` trainings are still to be done."""
    header = ["architecture", "augmentation", "optimiser", "validation accuracy", "validation loss"]
    header += ["training loss", "seconds", "million parameters"]
    parts = []
    for schedule in sorted({names[0] for names in known}, key=lambda text: int(text.split()[0])):
        rows = [
            [
                *names[1:],
                f"{found['valid_accuracy']:.3f}",
                f"{found['valid_loss']:.3f}",
                f"{found['train_loss']:.3f}",
                f"{found['seconds']:.0f}",
                f"{found['million_parameters']:.1f}",
            ]
            for names, found in sorted(known.items(), key=lambda item: -item[1]["valid_accuracy"])
            if names[0] == schedule
        ]
        parts.append(f"## {schedule}\n\n" + table(header, rows))
    count = len(data.folder.valid)
    if left:
        parts.append(
            f"{left} trainings of this schedule are still to be done: the same command goes on with them."
        )
    parts.append(
        f"{data.folder.root.name}, {count} validation pictures, batches of {BATCH}, one seed; validation crops "
        "are a quarter larger than training crops. Differences of accuracy under about "
        f"{2 * (0.2 / count) ** 0.5:.2f} may be chance. A short schedule tells how fast something learns, not "
        "where it ends: strong augmentation, MixUp and CutMix above all, slows learning down and pays when the "
        "epochs are many. Training losses of different augmentations cannot be compared. The seconds were taken "
        "on a machine with other work and are a rough guide."
    )
    record("architectures", "Architectures from scratch", command, "\n\n".join(parts), ["torch"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--long", action="store_true", help="the longer schedule, of four trainings")
    parser.add_argument("--epochs", type=int, help="default 6, with --long 16")
    parser.add_argument("--limit", type=int, help="at most so many training pictures")
    parser.add_argument("--size", type=int, default=64, help="pixels of the training crops")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no training after so long")
    given = parser.parse_args()
    make, epochs = (long_variants, 16) if given.long else (short_variants, 6)
    data = prepare_data(given.data, DataSettings(limit=given.limit))
    variants = list(make(Schedule(given.epochs or epochs, given.size, len(data.folder.train))))
    started = time.monotonic()
    known = read()
    for variant in variants:
        if variant.names in known:
            continue
        if time.monotonic() - started > 60 * given.minutes:
            break
        found = variant.train(data)
        # Read again: another call may have noted its own rows meanwhile.
        known = {**read(), variant.names: found}
        note(known)
        print(*variant.names, *(f"{found[name]:.3f}" for name in FIGURES), sep="  ", flush=True)
    left = sum(variant.names not in known for variant in variants)
    flags = [f"--epochs {given.epochs}"] if given.epochs else []
    flags += [f"--limit {given.limit}"] if given.limit else []
    command = " ".join(["python benchmarks/architectures.py DATA", *(["--long"] if given.long else []), *flags])
    write_table(known, data, command, left)


if __name__ == "__main__":
    main()
