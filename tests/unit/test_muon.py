"""Muon: orthogonal steps for convolutions, AdamW for the rest."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from landmarks.training.config.settings import OptimizationSettings
from landmarks.training.engine.muon import Muon, orthogonalized
from landmarks.training.engine.optimization import get_optimizer
from landmarks.training.models.model import MyModel


def network() -> nn.Sequential:
    """A convolution that mixes channels, a depthwise one, and a head."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )


def gradients(model: nn.Module, factor: float = 1.0) -> None:
    """Give every parameter the same random gradient each time, times a factor."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = factor * torch.randn(parameter.shape, generator=generator)


def steps_of(model: nn.Module, name: str, factor: float = 1.0) -> dict[str, torch.Tensor]:
    """What one step changes in each parameter."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    settings = OptimizationSettings(optimizer=name, learning_rate=0.1, weight_decay=0.0)  # type: ignore[arg-type]
    optimizer = get_optimizer(model, settings)
    gradients(model, factor)
    optimizer.step()
    return {key: value - before[key] for key, value in model.state_dict().items()}


@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    seed=st.integers(0, 99),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
)
def test_singular_values_come_near_one_in_the_same_directions(
    rows: int, columns: int, seed: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
    count = min(rows, columns)
    values = torch.linspace(0.2, 1, count)
    matrix = scale * left[:, :count] @ torch.diag(values) @ right[:, :count].T
    found = left[:, :count].T @ orthogonalized(matrix) @ right[:, :count]
    assert found.diagonal().min() > 0.6
    assert found.diagonal().max() < 1.3
    torch.testing.assert_close(found, torch.diag(found.diagonal()), atol=1e-3, rtol=0)


def test_a_gradient_of_nothing_moves_nothing() -> None:
    assert (orthogonalized(torch.zeros(4, 9)) == 0).all()


def test_a_convolution_moves_as_far_whatever_the_size_of_its_gradient() -> None:
    small, large = (steps_of(network(), "muon", factor)["0.weight"] for factor in (1e-3, 1e3))
    torch.testing.assert_close(small, large)
    values = torch.linalg.svdvals(small.flatten(1)) / (0.1 * 27**0.5)
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_all_other_weights_move_as_with_adamw() -> None:
    muon, adamw = steps_of(network(), "muon"), steps_of(network(), "adamw")
    for key in muon:
        if key != "0.weight":
            torch.testing.assert_close(muon[key], adamw[key])


def test_weights_decay() -> None:
    model = network()
    before = model[0].weight.detach().clone()
    optimizer = get_optimizer(model, OptimizationSettings(optimizer="muon", learning_rate=0.1, weight_decay=0.5))
    gradients(model, 0.0)
    optimizer.step()
    torch.testing.assert_close(model[0].weight.detach(), before * 0.95)


def test_training_that_is_resumed_goes_on_as_if_it_had_not_stopped() -> None:
    settings = OptimizationSettings(optimizer="muon")
    one, two = MyModel(3, widths=(8, 8), depths=(1, 1)), MyModel(3, widths=(8, 8), depths=(1, 1))
    first = get_optimizer(one, settings)
    for factor in (1.0, -0.5):
        gradients(one, factor)
        first.step()
    two.load_state_dict(one.state_dict())
    second = get_optimizer(two, settings)
    second.load_state_dict(deepcopy(first.state_dict()))  # else both would share one state
    for model, optimizer in ((one, first), (two, second)):
        gradients(model, 0.3)
        optimizer.step()
    torch.testing.assert_close(one.state_dict(), two.state_dict())


def test_a_closure_is_refused() -> None:
    optimizer = get_optimizer(network(), OptimizationSettings(optimizer="muon"))
    assert isinstance(optimizer, Muon)
    with pytest.raises(ValueError, match="no closure"):
        optimizer.step(lambda: 0.0)
