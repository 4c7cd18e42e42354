"""Loss, optimiser and learning-rate schedule by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from landmarks.training.config.settings import OptimizationSettings


def get_loss(label_smoothing: float = 0.0) -> nn.CrossEntropyLoss:
    """Return cross entropy on raw logits.

    Args:
        label_smoothing: Fraction of the target spread over all classes, in [0, 1) (Szegedy et al. 2016,
            https://arxiv.org/abs/1512.00567).
    """
    return nn.CrossEntropyLoss(label_smoothing=label_smoothing)


def get_optimizer(model: nn.Module, settings: OptimizationSettings) -> Optimizer:
    """Return the optimiser over the parameters that require a gradient.

    Weight decay is left off norms and biases: they have one dimension and nothing to shrink towards. The
    parameters of `model.backbone`, where there is one, learn at `backbone_rate` times the learning rate.

    Args:
        model: The network.
        settings: Name, rates and decay.
    """
    backbone = getattr(model, "backbone", None)
    slow = {id(p) for p in backbone.parameters()} if isinstance(backbone, nn.Module) else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in slow, parameter.ndim > 1), []).append(parameter)
    parameters: list[dict[str, Any]] = [
        {
            "params": members,
            "lr": settings.learning_rate * (settings.backbone_rate if is_slow else 1.0),
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (is_slow, decays), members in groups.items()
    ]
    if settings.optimizer == "sgd":
        nesterov = settings.momentum > 0
        return torch.optim.SGD(parameters, settings.learning_rate, momentum=settings.momentum, nesterov=nesterov)
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, settings.learning_rate)
    return torch.optim.AdamW(parameters, settings.learning_rate)


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
    """
    total = max(2, epochs * steps_per_epoch)
    if settings.schedule == "plateau":
        return Schedule(ReduceLROnPlateau(optimizer, factor=0.1, patience=2), per_step=False)
    if settings.schedule == "cosine":
        warm_up = max(1, total // 20)

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))

        return Schedule(LambdaLR(optimizer, factor), per_step=True)
    peaks: Sequence[float] = [float(group["lr"]) for group in optimizer.param_groups]
    # Momentum is left alone: its cycle brought nothing here and hides the momentum that was asked for.
    cycle = OneCycleLR(optimizer, max_lr=list(peaks), total_steps=total, pct_start=0.15, cycle_momentum=False)
    return Schedule(cycle, per_step=True)
