"""One short training from scratch, which the comparisons of architectures and of their parts share."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import (
    AugmentSettings,
    DataSettings,
    LoopSettings,
    OptimizationSettings,
    RunSettings,
)
from landmarks.training.data.loaders import Data, make_loaders
from landmarks.training.engine.train import optimize
from landmarks.training.models.networks import NetworkOfRun
from landmarks.training.runs.folder import EpochRow, RunFolder


@dataclass(frozen=True)
class Short:
    """How a network is trained.

    Attributes:
        augment: What its images go through.
        optimization: How its weights move.
        epochs: Passes over the training images.
        batch_size: Images a step.
    """

    augment: AugmentSettings
    optimization: OptimizationSettings
    epochs: int
    batch_size: int = 64


def fitting(preprocessing: Preprocessing, size: int) -> Preprocessing:
    """The contract for a network that was trained on crops of `size` pixels.

    The usual crop of 224 pixels would show it things far larger than it has learned them. A quarter more than the
    training crop shows them as large as random crops do (Touvron et al. 2019, https://arxiv.org/abs/1906.06423).
    """
    crop = round(1.25 * size)
    return replace(preprocessing, crop=crop, resize=round(crop * preprocessing.resize / preprocessing.crop))


def train_short(model: nn.Module, data: Data, short: Short) -> list[EpochRow]:
    """Train a network and return a row an epoch, measured on the validation images with the averaged weights."""
    contract = fitting(data.preprocessing, short.augment.sizes[-1])
    settings = DataSettings(batch_size=short.batch_size)
    loaders = make_loaders(data, settings, short.augment, preprocessing=contract)
    run = RunSettings(
        data.folder.root,
        loading=settings,
        augment=short.augment,
        optimization=short.optimization,
        loop=LoopSettings(epochs=short.epochs),
    )
    network = NetworkOfRun(model, "short", contract, data.folder.classes)
    with tempfile.TemporaryDirectory() as folder:
        return optimize(network, loaders, run, RunFolder(Path(folder)))


def millions(model: nn.Module) -> float:
    """Parameters of a network in millions."""
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6
