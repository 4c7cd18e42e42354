"""Images/s of training from scratch, compared with a plain torchvision loop, and of fine-tuning, in one run.

Run `python benchmarks/training_speed.py DATA`, DATA being an image folder with train/. Both train `MyModel` on the
same images with the same crop size and augmentation (random resized crop, flip, TrivialAugment), in turns:

- ours: `landmarks.training` as in `landmarks train`: decoded-image cache, bf16 if the processor supports it,
  channels_last;
- one batch: the same network on one batch that stays in memory, forward, backward and step: nothing can be faster;
- plain: `ImageFolder`, `DataLoader`, 32 bits, torchvision transforms on PIL images, no cache; without
  loader workers and with two.

Fine-tuning (EfficientNet-Lite0, its default batch and crop of the later epochs) is compared with itself with batch
norms (`landmarks.training.models.folding`), with all stages learning (`--frozen 0`), in bf16, and with an
allocator that returns freed memory to the system (`landmarks.training.engine.allocator`).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from record import record, table
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from landmarks.training.config.settings import (
    AugmentSettings,
    DataSettings,
    LoopSettings,
    OptimizationSettings,
    Precision,
    default_settings,
)
from landmarks.training.data.loaders import make_loaders, prepare_data
from landmarks.training.engine.allocator import kept_memory
from landmarks.training.engine.devices import launch_fabric
from landmarks.training.engine.optimization import get_loss, get_optimizer
from landmarks.training.engine.train import train_one_epoch
from landmarks.training.models.model import MyModel
from landmarks.training.models.networks import build_network, trained_on_images

BATCH = 64


class Loop(Protocol):
    """Trains one epoch at a time."""

    def epoch(self) -> float:
        """Train one epoch and return images/s."""


class Plain:
    """The reference loop.

    Args:
        data: Image folder with `train/`.
        size: Side of the crop in pixels.
        pictures: Images per epoch; those of the folder again and again where it has fewer.
        workers: Loader processes.
        device: Where the network computes.
        batch: Images per step.
        network: Makes the network from the number of classes.
    """

    def __init__(
        self,
        data: Path,
        size: int,
        pictures: int,
        workers: int,
        *,
        device: str = "cpu",
        batch: int = BATCH,
        network: Callable[[int], nn.Module] = MyModel,
    ) -> None:
        transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, scale=(0.25, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.TrivialAugmentWide(),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )
        folder = ImageFolder(str(data / "train"), transform)
        order = torch.randperm(len(folder), generator=torch.Generator().manual_seed(0))
        order = order.repeat(-(-pictures // len(folder)))[:pictures]
        self.loader = DataLoader(
            Subset(folder, order.tolist()),
            batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        self.device = device
        self.model = network(len(folder.classes)).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-3)

    def epoch(self) -> float:
        """Train one epoch and return images/s."""
        self.model.train()
        started, count = time.perf_counter(), 0
        for pictures, labels in self.loader:
            logits = self.model(pictures.to(self.device))
            loss = nn.functional.cross_entropy(logits, labels.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            count += len(labels)
        loss.item()  # a GPU has done its work when its result is there
        return count / (time.perf_counter() - started)


class Ours:
    """The loop of the package."""

    def __init__(self, data: Path, size: int, pictures: int) -> None:
        settings = DataSettings(batch_size=BATCH, limit=pictures)
        augment = AugmentSettings(sizes=(size,))
        prepared = prepare_data(data, settings)
        self.loader = make_loaders(prepared, settings, augment)["train"]
        model = MyModel(len(prepared.folder.classes)).to(memory_format=torch.channels_last)
        self.fabric = launch_fabric(LoopSettings())
        self.model, self.optimizer = self.fabric.setup(model, get_optimizer(model, OptimizationSettings()))

    def epoch(self) -> float:
        """Train one epoch and return images/s."""
        with kept_memory():
            result = train_one_epoch(self.loader, self.model, self.optimizer, get_loss(), fabric=self.fabric)
        return result.images / result.seconds


class OneBatch:
    """The network of ours on the first batch, again and again."""

    def __init__(self, ours: Ours) -> None:
        self.images, self.labels = next(iter(ours.loader))
        self.steps, self.fabric = len(ours.loader), ours.fabric
        model = copy.deepcopy(ours.model.module)
        self.model, self.optimizer = self.fabric.setup(model, get_optimizer(model, OptimizationSettings()))
        self.images = self.images.contiguous(memory_format=torch.channels_last)

    def epoch(self) -> float:
        """Train as many steps as an epoch of ours has and return images/s."""
        self.model.train()
        loss = get_loss()
        started = time.perf_counter()
        with kept_memory():
            for _ in range(self.steps):
                value = loss(self.model(self.images), self.labels)
                self.optimizer.zero_grad()
                self.fabric.backward(value)
                self.optimizer.step()
        return self.steps * len(self.labels) / (time.perf_counter() - started)


class FineTuning:
    """The loop of the package on a pretrained network, in a process of its own for each epoch.

    What one loop does to the memory of its process must not help another.

    Args:
        data: Image folder with `train/`.
        pictures: Images per epoch.
        different: How it differs from `landmarks train`: one of `VARIANTS`.
    """

    def __init__(self, data: Path, pictures: int, different: str) -> None:
        self._words = [__file__, str(data), "--pictures", str(pictures), "--fine-tune", different]

    def epoch(self) -> float:
        """Train two epochs and return images/s of the second."""
        done = subprocess.run([sys.executable, *self._words], check=True, capture_output=True, text=True)
        return float(done.stdout.split()[-1])


VARIANTS = {
    "": "fine-tuning, as `landmarks train` does it",
    "norms": "with batch norms",
    "stages": "the first stages learn too",
    "norms and stages": "both",
    "memory": "freed memory is returned to the system",
    "bf16": "in bf16",
}


def fine_tune(data: Path, pictures: int, different: str) -> float:
    """Fine-tune for two epochs and return images/s of the second; `different` is of `VARIANTS`."""
    settings = default_settings(data, "transfer", unfreeze=True)
    loading = replace(settings.loading, limit=pictures)
    prepared = prepare_data(data, loading)
    network = build_network(settings.model, prepared.folder.classes, prepared.preprocessing)
    loader = make_loaders(prepared, loading, settings.augment, preprocessing=network.preprocessing)["train"]
    frozen = 0 if "stages" in different else settings.model.frozen
    learning = trained_on_images(network, replace(settings.model, frozen=frozen)).model
    model = network.model if "norms" in different else learning  # whose stages were unfrozen with it
    model.to(memory_format=torch.channels_last)
    precision: Precision = "bf16-mixed" if different == "bf16" else "32-true"
    fabric = launch_fabric(replace(settings.loop, precision=precision), settings.model)
    wrapped, optimizer = fabric.setup(model, get_optimizer(model, settings.optimization))
    with nullcontext() if different == "memory" else kept_memory():
        for _ in range(2):
            result = train_one_epoch(loader, wrapped, optimizer, get_loss(), fabric=fabric)
    return result.images / result.seconds


def compared(loops: Mapping[str, Loop], rounds: int) -> str:
    """Run the loops in turns, and return a table of their speeds and of how much faster the first is."""
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            speeds[name].append(loop.epoch())
    first = next(iter(loops))
    rows = []
    for name, values in speeds.items():
        ratio = statistics.median(mine / other for mine, other in zip(speeds[first], values, strict=True))
        rows.append(
            [name, f"{statistics.median(values):.0f}", f"{min(values):.0f} - {max(values):.0f}", f"{ratio:.2f}"]
        )
    return table(["loop", "images/s, median", "from - to", "the first is faster by"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fine-tune", choices=VARIANTS, help="Print images/s of that alone.")
    given = parser.parse_args()
    if given.fine_tune is not None:
        print(fine_tune(given.data, given.pictures, given.fine_tune))
        return
    ours = Ours(given.data, given.size, given.pictures)
    scratch: dict[str, Loop] = {
        "ours": ours,
        "one batch": OneBatch(ours),
        "plain, no workers": Plain(given.data, given.size, given.pictures, 0),
        "plain, 2 workers": Plain(given.data, given.size, given.pictures, 2),
    }
    for loop in scratch.values():
        loop.epoch()  # warm-up: caches, workers, kernels
    body = compared(scratch, given.rounds)
    body += (
        f"\n\n{given.pictures} pictures per epoch, crops of {given.size} pixels, {given.rounds} epochs in turns."
    )
    pictures = given.pictures // 2
    finetuning: dict[str, Loop] = {
        name: FineTuning(given.data, pictures, different) for different, name in VARIANTS.items()
    }
    body += "\n\n## Fine-tuning\n\n" + compared(finetuning, given.rounds)
    body += f"\n\nEfficientNet-Lite0, {pictures} pictures per epoch, crops of 192 pixels, 32 per step."
    record("training_speed", "Training speed", "python benchmarks/training_speed.py DATA", body, ["torch"])


if __name__ == "__main__":
    main()
