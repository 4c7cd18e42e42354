"""The learning-rate range test finds where the loss falls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from landmarks.errors import TrainingError
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import default_settings
from landmarks.training.engine.devices import launch_fabric
from landmarks.training.engine.loggers.base import Loggers
from landmarks.training.engine.rate_finder import RateTest, steepest, sweep
from landmarks.training.models.networks import NetworkOfRun
from landmarks.training.reports.experiment_plots import rate_test
from landmarks.training.reports.plots import save_figure

CLASSES = ("a", "b")


def swept(features: torch.Tensor, labels: torch.Tensor, **how: Any) -> RateTest:
    torch.manual_seed(0)
    settings = default_settings(Path("data"), "transfer")
    settings = replace(settings, optimization=replace(settings.optimization, **how))
    settings = replace(settings, loop=replace(settings.loop, precision="32-true"))
    # Four batches per epoch: the loader is begun anew many times.
    loader: DataLoader[object] = DataLoader(TensorDataset(features, labels), batch_size=32, shuffle=True)
    network = NetworkOfRun(torch.nn.Linear(8, 2), "linear", Preprocessing(), CLASSES)
    return sweep(network, loader, settings, launch_fabric(settings.loop), logger=Loggers(), steps=60)


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    rates = np.geomspace(1e-6, 10, 120)
    fall = 1 / (1 + np.exp(-3 * np.log(rates / 2e-3)))
    explosion = np.clip(np.log(rates / 0.5), 0, None) * 4
    found = steepest(list(rates), list(3 - 2 * fall + explosion))
    assert found == pytest.approx(2e-3, rel=0.2)


def test_a_loss_that_only_rises_is_told() -> None:
    with pytest.raises(TrainingError, match="the loss falls at no learning rate"):
        steepest(list(np.geomspace(1e-6, 10, 50)), list(np.linspace(1, 2, 50)))


def test_a_sweep_finds_a_rate_at_which_a_network_learns(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(128) % 2
    features = torch.randn(128, 8, generator=generator)
    features[:, 0] += 4.0 * labels
    found = swept(features, labels)
    assert list(found.rates) == sorted(found.rates)
    assert 1e-4 < found.suggestion < 1.0
    assert min(found.losses) < 0.7 * found.losses[0]
    clipped, free = (swept(features, labels, optimizer="sgd", clip=clip) for clip in (1e-3, 0.0))
    assert clipped.losses[-1] > 2 * free.losses[-1]
    save_figure(rate_test(found.rates, found.losses, found.suggestion), tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as curve:
        assert curve.width > 300
