"""The trainer alone: what it saves, how often it synchronises with the device, and what it does not overwrite."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import Precision
from tiny_backbone import small_networks
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from landmarks.errors import ModelError, RunError, SettingsError, TrainingError
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import (
    LoopSettings,
    ModelKind,
    ModelSettings,
    RunSettings,
    default_settings,
)
from landmarks.training.data import loaders as loading
from landmarks.training.data.cache import build_cache
from landmarks.training.data.folders import Sample
from landmarks.training.engine import devices, distributed, train
from landmarks.training.engine.checkpoints import read_state, save_state
from landmarks.training.engine.loggers.base import Logger
from landmarks.training.engine.pipeline import resume_run
from landmarks.training.engine.train import optimize, train_one_epoch
from landmarks.training.models import features
from landmarks.training.models.features import Views, compute_embeddings
from landmarks.training.models.heads import MarginLoss
from landmarks.training.models.networks import NetworkOfRun, build_network
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


def test_data_sets_of_others_keep_their_transform(drawn: Path, tmp_path: Path) -> None:
    crop = v2.Compose([v2.ToImage(), v2.CenterCrop(32), v2.ToDtype(torch.float32)])
    loaders: dict[str, DataLoader[Any]] = {
        split: DataLoader(ImageFolder(drawn / folder, crop), 16)
        for split, folder in (("train", "train"), ("valid", "test"))
    }
    usual = default_settings(drawn, "scratch")
    narrow = NetworkOfRun(Pixels(4), "mine", Preprocessing(), ("a", "b", "c", "d"))
    once = replace(usual, loop=LoopSettings(epochs=1, accelerator="cpu", precision="32-true"))
    (row,) = optimize(narrow, loaders, once, RunFolder(tmp_path))
    assert row.valid_loss > 0


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


def test_a_run_is_not_resumed_with_other_settings(
    head: NetworkOfRun, loaders: dict[str, Any], tmp_path: Path
) -> None:
    """The optimiser would go on with those of the checkpoint, and the schedule ends with its epochs."""
    run = RunFolder(tmp_path)
    optimize(head, loaders, settings(1), run)
    sentence = r"settings\.json: `epochs` was 1 when the training began: put it back, or train a new run"
    with pytest.raises(ModelError, match=sentence):
        optimize(head, loaders, settings(2), run, resume=True)
    usual = settings(1)
    other = replace(usual, optimization=replace(usual.optimization, learning_rate=0.5))
    with pytest.raises(ModelError, match="`learning_rate` was"):
        optimize(head, loaders, other, run, resume=True)
    other = replace(usual, model=replace(usual.model, dropout=0.5))
    with pytest.raises(ModelError, match=r"`dropout` was 0\.0"):
        optimize(head, loaders, other, run, resume=True)
    moved = replace(usual, model=replace(usual.model, init=Path("gone"), weights=Path("moved")))
    assert len(optimize(head, loaders, moved, run, resume=True)) == 1
    state = read_state(run.checkpoint)
    del state["settings"]["model"]  # of an earlier version
    save_state(run.checkpoint, state)
    assert len(optimize(head, loaders, other, run, resume=True)) == 1


class Pixels(nn.Module):
    """A network on images, of one layer."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.head = nn.Linear(3, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.head(images.mean(dim=(2, 3))))


def test_the_rate_of_a_row_is_that_of_the_settings_not_of_the_backbone(
    loaders: dict[str, Any], tmp_path: Path
) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = nn.Linear(1280, 2), nn.Linear(2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return cast(torch.Tensor, self.head(self.backbone(x)))

    usual = settings(1)
    steady = replace(usual, optimization=replace(usual.optimization, schedule="plateau"))
    (row,) = optimize(
        NetworkOfRun(Whole(), "net", Preprocessing(), ("a", "b", "c")), loaders, steady, RunFolder(tmp_path)
    )
    assert row.learning_rate == usual.optimization.learning_rate


@pytest.mark.parametrize(
    ("unfreeze", "on_images", "saved"),
    [
        (True, True, [True, True, True, False, True]),  # fine-tuning: no worse than the first epoch
        (True, False, [True, False, True, False, False]),  # the head, trained for a later fine-tuning
        (False, True, [True, False, True, False, False]),
    ],
)
def test_which_epochs_weights_are_kept(
    head: NetworkOfRun,
    loaders: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unfreeze: bool,
    on_images: bool,
    saved: list[bool],
) -> None:
    losses = iter([1.0, 0.995, 0.98, 1.01, 0.99])
    monkeypatch.setattr(train, "valid_one_epoch", lambda *_, **__: train.EpochResult(next(losses), 0.5, 12, 1.0))
    monkeypatch.setattr(train, "set_train_size", lambda *_: None)
    network, asked = head, settings(5)
    if on_images:
        network = replace(head, model=Pixels())
        table = TensorDataset(torch.randn(12, 3, 8, 8), torch.arange(12) % 3)
        loaders = {split: DataLoader(table, 4) for split in ("train", "valid")}
    asked = replace(asked, model=replace(asked.model, unfreeze=unfreeze))
    rows = optimize(network, loaders, asked, RunFolder(tmp_path))
    assert [row.saved for row in rows] == saved


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
    assert remote.waited == looks + 2  # for the sums at the end, and then for the time


class Faraway:
    """A fabric whose device computes nothing and cannot be asked for a value: a step that tries raises."""

    device = torch.device("meta")
    world_size = 1

    def backward(self, value: torch.Tensor) -> None:
        value.backward()

    def all_reduce(self, values: torch.Tensor, **_: object) -> torch.Tensor:
        return torch.ones(values.shape)

    def epoch(self, loss: nn.Module | None = None) -> train.EpochResult:
        model = nn.Linear(8, 3, device="meta")
        batch = torch.zeros(4, 8, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta")
        loader, fabric = cast(DataLoader[Any], [batch] * 3), cast(Fabric, self)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        return train_one_epoch(loader, model, optimizer, loss or nn.CrossEntropyLoss(), fabric=fabric)


class FromNumbers(TorchDispatchMode):
    """Counts the tensors made of Python numbers: on a GPU each is a copy that waits for all work before it."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.lift_fresh.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), MarginLoss(nn.CrossEntropyLoss(), 30.0, 0.1)])
def test_no_step_waits_for_the_device(loss: nn.Module) -> None:
    with FromNumbers() as made:
        Faraway().epoch(loss)
    assert made.count == 0


def test_the_clock_is_stopped_when_the_device_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    events = []

    class Heard(Faraway):
        def all_reduce(self, values: torch.Tensor, **how: object) -> torch.Tensor:
            events.append("waited")
            return super().all_reduce(values, **how)

    monkeypatch.setattr(train.time, "perf_counter", lambda: events.append("clock") or 0.0)
    Heard().epoch()
    assert events == ["clock", "waited", "clock", "waited"]


@pytest.mark.parametrize(("computes", "best"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_a_gpu_that_emulates_bf16_trains_in_16_bits(
    monkeypatch: pytest.MonkeyPatch, computes: bool, best: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    native = lambda including_emulation=True: including_emulation or computes  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", native)
    asked: list[Any] = []
    monkeypatch.setattr(devices, "Fabric", lambda **how: asked.append(how["precision"]))
    devices.make_fabric(LoopSettings())
    assert asked == [best]


def test_16_bits_are_refused_on_a_cpu() -> None:
    with pytest.raises(SettingsError, match="`precision` 16-mixed needs a GPU: give bf16-mixed, or leave it out"):
        devices.make_fabric(LoopSettings(accelerator="cpu", precision="16-mixed"))


@pytest.mark.parametrize(("kind", "best"), [("scratch", "bf16-mixed"), ("transfer", "32-true")])
def test_a_cpu_trains_in_bf16_what_is_faster_in_it(
    monkeypatch: pytest.MonkeyPatch, kind: ModelKind, best: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    asked: list[Any] = []
    monkeypatch.setattr(devices, "Fabric", lambda **how: asked.append(how["precision"]))
    devices.make_fabric(LoopSettings(accelerator="cpu"), ModelSettings(kind=kind))
    assert asked == [best]


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

    def run(folder: Path, stop_after: int = 99, resize: int = 256) -> tuple[Any, int]:
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
        contract = Preprocessing(resize=resize)
        rows = compute_embeddings(model, cache, samples, contract, folder, views=Views(2, augment))
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
    left = {path.suffix for path in (tmp_path / "resumed").iterdir() if "embeddings" in path.name}
    assert left == {".npy", ".lock"}
    assert embed(tmp_path / "resumed")[1] == 0


def test_two_at_once_embed_the_same_once(embed: Callable[..., Any], tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as both:
        (first, one), (second, other) = both.map(embed, [tmp_path / "cache"] * 2)
    assert {one, other} == {0, 20}
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("left", [0, 100])
def test_damaged_embeddings_are_made_again(embed: Callable[..., Any], tmp_path: Path, left: int) -> None:
    rows, _ = embed(tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("embeddings-*.npy")
    os.truncate(file, left)
    again, count = embed(tmp_path / "cache")
    assert count == 20
    np.testing.assert_array_equal(again, rows)


def test_a_damaged_graph_of_the_backbone_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_networks(monkeypatch)
    model, contract = get_model_transfer_learning(num_classes=2, pretrained=False)
    graph = tmp_path / "backbone.onnx"
    graph.write_bytes(b"cut")
    crop = np.zeros((1, contract.crop, contract.crop, 3), np.uint8)
    assert features._embedder(model, contract, graph, "cpu")(crop).shape == (1, model.embedding_size)


def test_embeddings_of_another_input_are_not_taken_for_these(embed: Callable[..., Any], tmp_path: Path) -> None:
    rows, _ = embed(tmp_path / "cache")
    others, count = embed(tmp_path / "cache", resize=240)
    assert count == 20
    assert not np.array_equal(rows, others)


def test_the_cpu_embeds_where_the_settings_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(features, "_torch_embedder", lambda *_: "the GPU")
    monkeypatch.setattr(features, "open_session", lambda *_, **__: None)
    model, contract = get_model_transfer_learning(num_classes=2, pretrained=False)
    assert features._embedder(model, contract, tmp_path, "auto") == "the GPU"
    assert features._embedder(model, contract, tmp_path, "cpu") != "the GPU"


def test_embedding_on_a_gpu_leaves_the_network_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "cuda", lambda module: moved.append(module) or module)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    model, contract = get_model_transfer_learning(num_classes=2, pretrained=False)
    rows = features._torch_embedder(model, contract)(np.zeros((2, 64, 64, 3), dtype=np.uint8))
    assert rows.shape == (2, model.embedding_size)
    assert moved
    assert all(module is not model for module in moved)


def test_batches_for_a_gpu_are_in_pinned_memory(
    monkeypatch: pytest.MonkeyPatch, drawn: Path, tmp_path: Path
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(loading, "DataLoader", lambda **how: asked.append(how))
    usual = default_settings(drawn)
    data = loading.prepare_data(drawn, usual.loading, cache=tmp_path)
    for device, pinned in (("cuda", True), ("cpu", False)):
        fabric = SimpleNamespace(device=torch.device(device), global_rank=0, world_size=1)
        monkeypatch.setattr(distributed, "optimize", lambda *_, **__: None)
        network = build_network(usual.model, data.folder.classes, data.preprocessing)
        asked.clear()
        distributed.train_images(
            cast(Fabric, fabric), data, network, usual, RunFolder(tmp_path / "run"), resume=False, logger=None
        )
        assert [how["pin_memory"] for how in asked] == [pinned] * 3
