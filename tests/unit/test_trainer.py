"""The trainer alone: what it saves, how often it waits for the device, what it does not overwrite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import Precision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landmarks.errors import RunError, TrainingError
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import LoopSettings, RunSettings, default_settings
from landmarks.training.data.cache import build_cache
from landmarks.training.data.folders import Sample
from landmarks.training.engine import train
from landmarks.training.engine.loggers.base import Logger
from landmarks.training.engine.pipeline import resume_run
from landmarks.training.engine.train import optimize, train_one_epoch
from landmarks.training.models import features
from landmarks.training.models.features import Views, compute_embeddings
from landmarks.training.models.networks import NetworkOfRun
from landmarks.training.models.transfer import Head, get_model_transfer_learning
from landmarks.training.runs.folder import EpochRow, RunFolder, create_run, locked_run


class Scaler(Precision):
    """A precision with a state, as the gradient scaler of 16 bits has one."""

    def __init__(self) -> None:
        self.scale = 1.0

    def state_dict(self) -> dict[str, Any]:
        self.scale *= 2
        return {"scale": self.scale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.scale = state_dict["scale"]


class Rows(Logger):
    def __init__(self) -> None:
        self.rows: list[EpochRow] = []

    def epoch(self, row: EpochRow) -> None:
        self.rows.append(row)


@pytest.fixture
def head() -> NetworkOfRun:
    torch.manual_seed(0)
    model, contract = get_model_transfer_learning(num_classes=3, pretrained=False)
    return NetworkOfRun(Head(model), "net", contract, ("a", "b", "c"))


@pytest.fixture
def loaders() -> dict[str, Any]:
    torch.manual_seed(1)
    table = TensorDataset(torch.randn(12, 1280), torch.arange(12) % 3)
    return {"train": DataLoader(table, 4), "valid": DataLoader(table, 4)}


def settings(epochs: int) -> RunSettings:
    usual = default_settings(Path("data"), "transfer")
    return replace(usual, loop=LoopSettings(epochs=epochs, accelerator="cpu"))


def test_a_resumed_run_has_the_gradient_scaler_of_before(
    head: NetworkOfRun, loaders: dict[str, Any], tmp_path: Path
) -> None:
    run, fabric, seen = RunFolder(tmp_path), Fabric(accelerator="cpu", devices=1), Rows()
    fabric.strategy.precision = Scaler()
    optimize(head, loaders, settings(2), run, fabric=fabric, logger=seen)
    assert [row.epoch for row in seen.rows] == [0, 1]
    again = Fabric(accelerator="cpu", devices=1)
    again.strategy.precision = fresh = Scaler()
    rows = optimize(head, loaders, settings(2), run, fabric=again, resume=True)
    assert fresh.scale == 4.0
    assert rows == seen.rows


@pytest.mark.parametrize(("every", "looks"), [(1, 3), (2, 1), (50, 0)])
def test_an_accelerator_is_waited_for_only_now_and_then(
    loaders: dict[str, Any], monkeypatch: pytest.MonkeyPatch, every: int, looks: int
) -> None:
    monkeypatch.setattr(train, "CHECK_EVERY", every)
    fabric = Fabric(accelerator="cpu", devices=1)

    class Remote:
        """A fabric whose device is not the CPU."""

        device = torch.device("meta")
        world_size = 1
        waited = 0

        def backward(self, value: torch.Tensor) -> None:
            fabric.backward(value)

        def all_reduce(self, values: torch.Tensor, **_: object) -> torch.Tensor:
            self.waited += 1
            return values

    monkeypatch.setattr(
        train.torch,
        "zeros",
        lambda *shape, device, **how: torch.Tensor.new_zeros(torch.ones(1), shape, dtype=torch.float64),
    )
    remote: Any = Remote()
    model = nn.Linear(1280, 3)
    train_one_epoch(
        loaders["train"], model, torch.optim.SGD(model.parameters(), 0.1), nn.CrossEntropyLoss(), fabric=remote
    )
    assert remote.waited == looks + 1  # once at the end


def test_a_loss_that_is_not_finite_ends_the_epoch(loaders: dict[str, Any]) -> None:
    model = nn.Linear(1280, 3)
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss became nan: train again with a lower `learning_rate`"):
        train_one_epoch(loaders["train"], model, torch.optim.SGD(model.parameters(), 0.1), nn.CrossEntropyLoss())


def test_a_run_that_another_process_trains_is_not_resumed(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", settings(1))
    with (
        locked_run(run),
        pytest.raises(RunError, match="another process is training this run: wait until it ends"),
    ):
        resume_run(run.root)
    with locked_run(run):
        pass  # it can be had again


class InterruptedEmbeddingError(Exception):
    pass


@pytest.fixture
def embed(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Embed drawn pictures in blocks of 4, with an embedding that is quick, and count those embedded."""
    paths = sorted((drawn / "train").glob("*/*.*"))[:10]
    samples = [Sample(path, 0) for path in paths]
    cache = build_cache(paths, tmp_path / "pictures")
    model, _ = get_model_transfer_learning(num_classes=2, pretrained=False)
    monkeypatch.setattr(features, "BLOCK", 4)
    monkeypatch.setattr(features, "write_onnx", lambda model, contract, path: path.write_bytes(b"graph"))

    def run(folder: Path, stop_after: int = 99, **options: Any) -> tuple[Any, int]:
        embedded = 0

        def quick(batch: np.ndarray) -> np.ndarray:
            nonlocal embedded
            if embedded >= stop_after:
                raise InterruptedEmbeddingError
            embedded += len(batch)
            return batch[:, ::56, ::56, 0].reshape(len(batch), -1).astype(np.float32)

        monkeypatch.setattr(features, "_embedder", lambda *_: quick)
        folder.mkdir(exist_ok=True)
        augment = default_settings(drawn, "transfer").augment
        rows = compute_embeddings(
            model, cache, samples, Preprocessing(), folder, views=Views(2, augment), **options
        )
        return rows, embedded

    return run


def test_embeddings_go_on_where_they_were_interrupted(embed: Callable[..., Any], tmp_path: Path) -> None:
    whole, count = embed(tmp_path / "whole")
    assert count == 20
    with pytest.raises(InterruptedEmbeddingError):
        embed(tmp_path / "resumed", stop_after=8)
    rows, count = embed(tmp_path / "resumed")
    assert count == 12  # the first block of 8 views was there
    np.testing.assert_array_equal(rows, whole)
    assert [path.suffix for path in (tmp_path / "resumed").iterdir() if "embeddings" in path.name] == [".npy"]
    assert embed(tmp_path / "resumed")[1] == 0


def test_the_cpu_embeds_where_the_settings_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(features, "_torch_embedder", lambda *_: "the GPU")
    monkeypatch.setattr(features.onnxruntime, "InferenceSession", lambda *_: None)
    model, contract = get_model_transfer_learning(num_classes=2, pretrained=False)
    assert features._embedder(model, contract, tmp_path, "auto") == "the GPU"
    assert features._embedder(model, contract, tmp_path, "cpu") != "the GPU"
