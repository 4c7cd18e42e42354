"""The learning-rate range test (Smith 2017, https://arxiv.org/abs/1506.01186).

The network takes some steps while the learning rate grows from far too low to far too high. The loss hardly moves
first, then falls, and explodes in the end. Where it falls fastest is a good rate for the start of a training.
Nothing is saved: the network of the test is thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric

from landmarks.errors import SettingsError, TrainingError
from landmarks.training.config.settings import RunSettings
from landmarks.training.data.loaders import Loader, make_loaders, set_train_size
from landmarks.training.data.sampling import seed_of, set_epoch
from landmarks.training.engine.devices import launch_fabric, torch_as_before
from landmarks.training.engine.loggers.base import Logger
from landmarks.training.engine.optimization import get_optimizer, get_training_loss
from landmarks.training.engine.pipeline import head_loaders, prepare
from landmarks.training.models.networks import NetworkOfRun, trained_on_images
from landmarks.training.models.transfer import Head, TransferModel

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 120
WIDTH = 3.0
"""Standard deviation of the smoothing, in steps: single batches differ too much."""

DIVERGED = 4.0
"""The test ends where the loss is this many times the mean of its lowest steps."""

FEWEST = 10
"""Steps without which there is no curve to judge."""


@dataclass(frozen=True)
class RateTest:
    """The curve of a test.

    Attributes:
        rates: Learning rate of each step, rising.
        losses: Smoothed loss at it.
        suggestion: The rate at which the loss falls fastest.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


@torch_as_before()
def find_rate(settings: RunSettings, *, logger: Logger, steps: int = STEPS) -> RateTest:
    """Test learning rates for a run, without making it.

    Args:
        settings: Of the run; its own learning rate plays no part. With a frozen backbone the head is tested, with
            `unfreeze` the whole network with a new head.
        logger: Gets the progress.
        steps: Steps from the lowest to the highest rate.

    Raises:
        SettingsError: Such a run would not start.
        TrainingError: The loss is not finite from the start, or falls nowhere.
    """
    alone = replace(settings, loop=replace(settings.loop, devices=1, nodes=1))
    data, network = prepare(alone, logger)
    if isinstance(network.model, TransferModel) and not settings.model.unfreeze:
        loader = head_loaders(alone, data, network, logger, seed=settings.loading.seed)["train"]
        network = replace(network, model=Head(network.model))
    else:
        network = trained_on_images(network, settings.model)
        loader = make_loaders(data, alone.loading, alone.augment, preprocessing=network.preprocessing)["train"]
        set_train_size(loader, alone.augment, alone.augment.sizes[0], network.preprocessing)
    if not len(loader):
        raise SettingsError("`batch_size` is larger than the number of training images: lower it")
    logger.stage("testing learning rates")
    return sweep(network, loader, alone, launch_fabric(alone.loop, alone.model), logger=logger, steps=steps)


def sweep(
    network: NetworkOfRun, loader: Loader, settings: RunSettings, fabric: Fabric, *, logger: Logger, steps: int
) -> RateTest:
    """Train with a rate that grows by the same factor at each step, until the loss explodes.

    Args:
        network: Trained in place.
        loader: Of training batches; it is begun anew when it ends.
        settings: Optimizer, loss and seed.
        fabric: Launched.
        logger: Gets the progress.
        steps: Steps from `LOWEST` to `HIGHEST`.

    Raises:
        TrainingError: The loss is not finite from the start, or falls nowhere.
    """
    how = replace(settings.optimization, learning_rate=LOWEST)
    loss = get_training_loss(settings, loader)
    if not isinstance(network.model, Head):
        network.model.to(memory_format=torch.channels_last)
    optimizer = get_optimizer(network.model, how, device=fabric.device.type)
    model, optimizer = fabric.setup(network.model, optimizer)
    growth = (HIGHEST / LOWEST) ** (1 / max(1, steps - 1))
    model.train()
    rates, losses = list[float](), list[float]()
    batches = _endless(cast(Loader, fabric.setup_dataloaders(loader)), loader, settings.loading.seed)
    for step, (images, targets) in zip(range(steps), batches, strict=False):
        value = loss(model(images), targets)
        now = float(value.detach())
        if not math.isfinite(now) or (len(losses) >= FEWEST and now > DIVERGED * np.mean(sorted(losses)[:FEWEST])):
            break
        rates.append(LOWEST * growth**step)
        losses.append(now)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(value)
        if how.clip > 0:
            fabric.clip_gradients(model, optimizer, max_norm=how.clip, error_if_nonfinite=False)
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] *= growth  # the backbone keeps its part of the rate
        logger.progress(step + 1, steps)
    curve = smoothed(losses)
    return RateTest(tuple(rates), tuple(curve), steepest(rates, curve))


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return the mean of each loss and its neighbours on both sides, so that the curve is not delayed."""
    steps = np.arange(len(losses))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / WIDTH) ** 2)
    return [float(value) for value in weights @ np.array(losses) / weights.sum(axis=1)]


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Return the rate at which the loss falls fastest, before its lowest value.

    Args:
        rates: Learning rate of each step, rising by the same factor.
        losses: Smoothed loss at it.

    Raises:
        TrainingError: There are too few steps, or the loss falls nowhere.
    """
    lowest = int(np.argmin(losses)) if losses else 0
    if len(losses) < FEWEST or lowest < 2:
        raise TrainingError("the loss falls at no learning rate: check the labels, or use a larger `batch_size`")
    slopes = np.gradient(np.array(losses[: lowest + 1]), np.log(rates[: lowest + 1]))
    return float(rates[int(np.argmin(slopes))])


def _endless(batches: Loader, loader: Loader, seed: int) -> Iterator[Any]:
    """Yield batches, one epoch after the other."""
    epoch = 0
    while True:
        set_epoch(loader, epoch)
        torch.manual_seed(seed_of(seed, epoch))
        yield from batches
        epoch += 1
