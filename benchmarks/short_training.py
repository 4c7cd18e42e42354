"""One short training from scratch, shared by the comparisons of architectures and of their parts."""

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
        augment: Augmentation.
        optimization: Optimizer and schedule.
        epochs: Passes over the training images.
        batch_size: Images per step.
        seed: Of the order and the augmentation of the images; the caller draws the initial weights.
    """

    augment: AugmentSettings
    optimization: OptimizationSettings
    epochs: int
    batch_size: int = 64
    seed: int = 0


def fitting(preprocessing: Preprocessing, size: int) -> Preprocessing:
    """The preprocessing for a network that was trained on crops of `size` pixels.

    In the usual crop of 224 pixels, objects would appear far larger than in training. With a crop a quarter larger
    than the training crop they appear as large as in random crops (Touvron et al. 2019,
    https://arxiv.org/abs/1906.06423).
    """
    crop = round(1.25 * size)
    return replace(preprocessing, crop=crop, resize=round(crop * preprocessing.resize / preprocessing.crop))


def train_short(model: nn.Module, data: Data, short: Short) -> list[EpochRow]:
    """Train a network; return one row per epoch, measured on the validation images with the averaged weights."""
    contract = fitting(data.preprocessing, short.augment.sizes[-1])
    settings = DataSettings(batch_size=short.batch_size, seed=short.seed)
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
