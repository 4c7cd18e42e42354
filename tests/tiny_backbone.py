"""A pretrained backbone small enough for tests: timm's `test_efficientnet`, trained on drawn scenes.

`python tests/tiny_backbone.py` trains it anew and writes the file beside the tests (about two minutes).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import timm
import torch
from drawn import draw_dataset
from safetensors.torch import save_file
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

NAME = "test_efficientnet"
WEIGHTS = Path(__file__).parent / "data" / "tiny_backbone.safetensors"

TINY_BACKBONE = ("--backbone", NAME, "--weights", str(WEIGHTS))
"""Flags of `landmarks train` for a test that is not about the bundled backbone."""

NARROW = ("--method", "scratch", "--widths", "8,16,32,64")
"""Flags of `landmarks train` for a test from scratch that is not about the accuracy of `MyModel`."""


def small_networks(patch: pytest.MonkeyPatch) -> None:
    """Replace the bundled backbones by the tiny one and make `MyModel` narrow, where flags cannot say so."""
    from landmarks.training.export import export
    from landmarks.training.models import backbones, networks

    packaged = {name: replace(one, timm_name=NAME) for name, one in backbones.PACKAGED.items()}
    patch.setattr(backbones, "PACKAGED", packaged)
    patch.setattr(backbones, "_read_packaged", lambda packaged: backbones.read_state(WEIGHTS))
    whole = networks.MyModel

    def narrow(*arguments: Any, **options: Any) -> nn.Module:
        return whole(*arguments, **options | {"widths": (8, 16, 32, 64)})

    patch.setattr(networks, "MyModel", narrow)
    patch.setattr(export, "table_fits", lambda settings: False)  # it is of the bundled backbone


def main(steps: int = 400, seed: int = 1) -> None:
    """Train the backbone with a head of eight drawn landmarks, and write it in 16 bits."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network = timm.create_model(NAME, num_classes=8)
    shaped = v2.Compose([v2.ToImage(), v2.CenterCrop(160)])
    augment = v2.Compose([v2.RandomResizedCrop(112, scale=(0.3, 1)), v2.RandomHorizontalFlip()])
    scaled = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(network.pretrained_cfg["mean"], network.pretrained_cfg["std"]),
        ]
    )
    with TemporaryDirectory() as folder:
        draw_dataset(Path(folder), classes=8, train_per_class=120, test_per_class=1, seed=seed)
        pictures, labels = zip(*ImageFolder(f"{folder}/train", shaped), strict=True)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    for step in range(steps):
        chosen = torch.randint(len(pictures), (32,)).tolist()
        images = scaled(torch.stack([augment(pictures[one]) for one in chosen]))
        loss = nn.functional.cross_entropy(network(images), torch.tensor([labels[one] for one in chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    state = network.state_dict()
    # As many classes as the network of timm has when it is built without arguments.
    full = timm.create_model(NAME).state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = torch.zeros_like(full[name])
    save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in state.items()}, WEIGHTS
    )


if __name__ == "__main__":
    main()
