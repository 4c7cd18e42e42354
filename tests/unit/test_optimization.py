"""Losses, optimisers and schedules do what their names say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from landmarks.errors import SettingsError
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import (
    AugmentSettings,
    ModelSettings,
    OptimizationSettings,
    OptimizerName,
    ScheduleName,
)
from landmarks.training.data.augment import TrainTransform
from landmarks.training.engine.muon import Muon
from landmarks.training.engine.optimization import get_loss, get_optimizer, get_scheduler
from landmarks.training.models.backbones import Backbone
from landmarks.training.models.heads import head_factory
from landmarks.training.models.model import MyModel
from landmarks.training.models.networks import build_network
from landmarks.training.models.transfer import TransferModel

STEPS = 40


def settings_of(parameter: Tensor, optimizer: Optimizer) -> dict[str, float]:
    (group,) = [g for g in optimizer.param_groups if any(p is parameter for p in g["params"])]
    return {"lr": group["lr"], "weight_decay": group["weight_decay"]}


def transfer() -> TransferModel:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return TransferModel(Backbone(network, 4, (0.5,) * 3, (0.5,) * 3), 2)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_norms_and_biases_do_not_decay(name: OptimizerName) -> None:
    model = MyModel(2, widths=(8, 8), depths=(1, 1))
    optimizer = get_optimizer(model, OptimizationSettings(optimizer=name, weight_decay=0.1))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    for module in model.modules():
        for kind, parameter in module.named_parameters(recurse=False):
            decays = kind == "weight" and not isinstance(module, nn.BatchNorm2d)
            assert settings_of(parameter, optimizer)["weight_decay"] == (0.1 if decays else 0.0)


def test_a_backbone_learns_slower_once_it_learns() -> None:
    model, settings = transfer(), OptimizationSettings(learning_rate=0.2, backbone_rate=0.1)
    assert sum(len(group["params"]) for group in get_optimizer(model, settings).param_groups) == 2
    model.unfreeze()
    optimizer = get_optimizer(model, settings)
    for name, parameter in model.named_parameters():
        expected = 0.02 if name.startswith("backbone.") else 0.2
        assert settings_of(parameter, optimizer)["lr"] == pytest.approx(expected), name


@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("adam", Adam), ("adamw", AdamW), ("muon", Muon)])
def test_each_optimiser_lowers_the_loss(name: OptimizerName, kind: type[Optimizer]) -> None:
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    optimizer = get_optimizer(model, OptimizationSettings(optimizer=name, learning_rate=0.1))
    assert type(optimizer) is kind
    x, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    losses = []
    for _ in range(30):
        loss = get_loss()(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_momentum_comes_with_nesterov_and_may_be_left_out() -> None:
    for momentum in (0.9, 0.0):
        optimizer = get_optimizer(nn.Linear(1, 1), OptimizationSettings(optimizer="sgd", momentum=momentum))
        assert all((g["momentum"], g["nesterov"]) == (momentum, momentum > 0) for g in optimizer.param_groups)


def test_smoothing_spreads_the_target_over_all_classes() -> None:
    logits, label = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    target = torch.tensor([[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]])
    expected = -(target * logits.log_softmax(1)).sum()
    torch.testing.assert_close(get_loss(0.1)(logits, label), expected)


def rates(schedule: ScheduleName, epochs: int = 4, steps: int = STEPS // 4) -> list[list[float]]:
    """The rate of every step, one list a parameter group; peaks are 1 for the head and 0.1 for the backbone."""
    model = transfer()
    model.unfreeze()
    settings = OptimizationSettings(learning_rate=1.0, backbone_rate=0.1, schedule=schedule)
    optimizer = get_optimizer(model, settings)
    moving = get_scheduler(optimizer, settings, epochs=epochs, steps_per_epoch=steps)
    seen = []
    for _ in range(epochs):
        for _ in range(steps):
            seen.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            moving.after_step()
        moving.after_epoch(1.0)
    columns = [list(column) for column in zip(*seen, strict=True)]
    return sorted(columns, key=max, reverse=True)


@pytest.mark.parametrize(("schedule", "rise"), [("cosine", 0.05), ("onecycle", 0.15)])
def test_a_schedule_rises_to_the_peak_and_falls_to_nearly_nothing(schedule: ScheduleName, rise: float) -> None:
    head, backbone = rates(schedule)[0], rates(schedule)[-1]
    top = max(range(STEPS), key=head.__getitem__)
    assert head[top] == pytest.approx(1.0)
    assert top == pytest.approx(rise * STEPS, abs=1)
    assert head[: top + 1] == sorted(head[: top + 1])
    assert head[top:] == sorted(head[top:], reverse=True)
    assert head[-1] < 0.01
    assert backbone == pytest.approx([rate / 10 for rate in head])


def test_cosine_is_half_way_down_in_the_middle_of_its_fall() -> None:
    head = rates("cosine")[0]
    assert head[2 + 19] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


@pytest.mark.parametrize("schedule", ["plateau", "cosine", "onecycle"])
def test_a_run_of_a_single_step_is_scheduled_too(schedule: ScheduleName) -> None:
    assert len(rates(schedule, epochs=1, steps=1)[0]) == 1


def test_a_plateau_divides_the_rate_by_ten_after_three_epochs_without_gain() -> None:
    model, settings = nn.Linear(1, 1), OptimizationSettings(learning_rate=1.0, schedule="plateau")
    optimizer = get_optimizer(model, settings)
    schedule = get_scheduler(optimizer, settings, epochs=9, steps_per_epoch=1)
    seen = []
    for loss in (1.0, 0.9, 0.9, 0.95, 0.9, 0.8, 0.8):
        schedule.after_step()  # which moves nothing here
        schedule.after_epoch(loss)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1])


def unchecked(settings: Any, name: str) -> Any:
    """Settings with an unknown name, as if it was added to the settings and nowhere else."""
    object.__setattr__(settings, name, ("new",) if name == "names" else "new")
    return settings


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: get_optimizer(nn.Linear(1, 1), unchecked(OptimizationSettings(), "optimizer")),
            "`optimizer` must be one of sgd, adam, adamw, muon, not 'new'",
        ),
        (
            lambda: get_scheduler(
                SGD(nn.Linear(1, 1).parameters()),
                unchecked(OptimizationSettings(), "schedule"),
                epochs=1,
                steps_per_epoch=1,
            ),
            "`schedule` must be one of plateau, cosine, onecycle, not 'new'",
        ),
        (
            lambda: head_factory(unchecked(ModelSettings(), "head")),
            "`head` must be one of linear, cosine, not 'new'",
        ),
        (
            lambda: build_network(unchecked(ModelSettings(), "kind"), ("a", "b"), Preprocessing()),
            "`method` must be one of scratch, transfer, not 'new'",
        ),
        (
            lambda: TrainTransform(unchecked(AugmentSettings(), "names"), 96, Preprocessing()),
            "`augment` must be one of resized-crop, crop, .* not 'new'",
        ),
    ],
)
def test_a_name_that_only_the_settings_know_is_an_error_and_no_other_name(
    make: Callable[[], object], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        make()
