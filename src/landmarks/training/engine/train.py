"""The training loop, on Lightning Fabric: one device or several, 32 bits or bf16, the same lines.

`train_one_epoch`, `valid_one_epoch` and `one_epoch_test` are one pass each; `optimize` puts them together and
keeps the best weights and a checkpoint an epoch. Every epoch begins by seeding torch from (seed, epoch), so a run
that was killed and resumed draws the same pictures, crops and drop-outs as an undisturbed one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from timm.utils.distributed import distribute_bn
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer

from landmarks.errors import ModelError, TrainingError
from landmarks.training.config.settings import LoopSettings
from landmarks.training.data.loaders import Loader
from landmarks.training.data.sampling import start_epoch
from landmarks.training.engine.checkpoints import read_state, save_state, save_weights
from landmarks.training.engine.curves import Curves
from landmarks.training.engine.devices import make_fabric
from landmarks.training.engine.optimization import Schedule
from landmarks.training.runs.folder import EpochRow, RunFolder, write_history

IMPROVEMENT = 0.01
"""Share by which the validation loss must fall for the weights to be saved."""


@dataclass(frozen=True)
class EpochResult:
    """Mean loss and accuracy of one pass, and how fast it went.

    Attributes:
        loss: Mean cross entropy a picture.
        accuracy: Share of pictures whose highest logit is the (largest part of the) target, in [0, 1].
        pictures: Pictures seen.
        seconds: Wall time.
    """

    loss: float
    accuracy: float
    pictures: int
    seconds: float


@dataclass
class Listener:
    """Who is told how training goes; the default listens to nothing.

    Attributes:
        step: Called with (epoch, steps done, steps of the epoch).
        epoch: Called with the row of a finished epoch.
    """

    step: Callable[[int, int, int], None] = lambda epoch, done, total: None  # noqa: ARG005
    epoch: Callable[[EpochRow], None] = lambda row: None  # noqa: ARG005


@dataclass
class Training:
    """The parts of one training: what `optimize` runs.

    Attributes:
        model: The bare network.
        architecture: Its name in the weights file.
        classes: Class names.
        loaders: `train` and `valid`.
        optimizer: Over the parameters that learn.
        schedule: Of its learning rate.
        loss: On (logits, targets).
        loop: How long, on what.
        seed: Seed of every epoch.
        clip: Largest norm of the gradient, 0 for no clipping.
        ema: Decay of the average of the weights, 0 for none.
        before_epoch: Called with the epoch before it begins, for example to change the crop size.
        on_pictures: Whether the loaders give pictures, not embeddings.
    """

    model: nn.Module
    architecture: str
    classes: tuple[str, ...]
    loaders: dict[str, Loader]
    optimizer: Optimizer
    schedule: Schedule
    loss: nn.Module
    loop: LoopSettings
    seed: int = 0
    clip: float = 0.0
    ema: float = 0.0
    before_epoch: Callable[[int], int] = lambda epoch: 0  # noqa: ARG005
    on_pictures: bool = True


def train_one_epoch(
    loader: Loader,
    model: nn.Module,
    optimizer: Optimizer,
    loss: nn.Module,
    *,
    fabric: Fabric | None = None,
    schedule: Schedule | None = None,
    clip: float = 0.0,
    after_step: Callable[[int], None] | None = None,
) -> EpochResult:
    """Train for one pass over the loader.

    Args:
        loader: Of training pictures.
        model: The network, set up by Fabric where `fabric` is given.
        optimizer: Likewise.
        loss: On (logits, targets).
        fabric: Precision and devices, or None for this device in 32 bits.
        schedule: Moved after each step where it asks for that.
        clip: Largest norm of the gradient, or 0 for no clipping.
        after_step: Called with the number of steps done.

    Raises:
        TrainingError: The loss is not a number or infinite.
    """
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    model.train()
    started = time.perf_counter()
    meter = _Meter(fabric.device)
    for step, (pictures, targets) in enumerate(loader, start=1):
        logits = model(pictures.to(memory_format=torch.channels_last) if pictures.ndim == 4 else pictures)
        value = loss(logits, targets)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(value)
        if clip > 0:
            fabric.clip_gradients(model, optimizer, max_norm=clip, error_if_nonfinite=False)
        # Checked before the step, so that the weights are still good when it is not a number; over all devices,
        # so that none waits for one that has given up.
        mean = float(cast(Tensor, fabric.all_reduce(value.detach(), reduce_op="mean")))
        if not math.isfinite(mean):
            raise TrainingError(f"the loss became {mean} at step {step}: train again with a lower --learning-rate")
        optimizer.step()
        if schedule:
            schedule.after_step()
        meter.add(value.detach(), logits.detach(), targets)
        if after_step:
            after_step(step)
    return meter.result(fabric, started)


@torch.no_grad()
def valid_one_epoch(
    loader: Loader, model: nn.Module, loss: nn.Module, *, fabric: Fabric | None = None
) -> EpochResult:
    """Measure loss and accuracy over one pass without learning; arguments as in `train_one_epoch`."""
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    model.eval()
    started = time.perf_counter()
    meter = _Meter(fabric.device)
    for pictures, targets in loader:
        logits = model(pictures.to(memory_format=torch.channels_last) if pictures.ndim == 4 else pictures)
        meter.add(loss(logits, targets), logits, targets)
    return meter.result(fabric, started)


@torch.no_grad()
def one_epoch_test(loader: Loader, model: nn.Module) -> tuple[Tensor, Tensor]:
    """Collect the answers of a network over one pass, in 32 bits and in the order of the loader.

    Returns:
        Probabilities (N, K) float32 and labels (N,) int64, on the CPU.
    """
    model.eval()
    device = next(model.parameters()).device
    probabilities, labels = [], []
    for pictures, targets in loader:
        logits = model(pictures.to(device))
        probabilities.append(torch.softmax(logits.float(), dim=1).cpu())
        labels.append(targets.cpu())
    return torch.cat(probabilities), torch.cat(labels)


def optimize(
    training: Training,
    run: RunFolder,
    *,
    fabric: Fabric | None = None,
    resume: bool = False,
    listener: Listener | None = None,
) -> list[EpochRow]:
    """Train until the epochs, the time or the patience are used up.

    After each epoch `metrics.csv` and the checkpoint are written; the weights are saved when the validation loss
    is more than 1 % below that of the last saved. Where an average of the weights is kept (`ema`), it is what is
    validated and saved.

    Args:
        training: What to train.
        run: Where files go.
        fabric: Launched; or None for the one device that `training.loop` names.
        resume: Continue from the checkpoint in `run`.
        listener: Told after each step and epoch.

    Returns:
        A row an epoch, those before a resume included.

    Raises:
        TrainingError: The loss is not a number; the last good weights are kept.
        ModelError: The checkpoint is damaged or of another network.
    """
    listener = listener or Listener()
    if fabric is None:
        fabric = make_fabric(training.loop)
        fabric.launch()
    one_epoch = _Epochs(training, fabric, listener)
    progress = _restore(training, run, one_epoch.average) if resume else _Progress()
    with Curves(run if fabric.is_global_zero else None, progress.next_epoch) as board:
        for epoch in progress.epochs_left(training.loop):
            row = one_epoch(epoch, progress)
            progress.take(row)
            if fabric.is_global_zero:
                if row.saved:
                    save_weights(run.weights, one_epoch.judged, training.architecture, training.classes)
                write_history(run.history, progress.rows)
                save_state(run.checkpoint, _state(training, one_epoch.average, progress))
            board.add(row)
            listener.epoch(row)
    return progress.rows


@dataclass
class _Progress:
    """Where training stands; all of it is in the checkpoint."""

    rows: list[EpochRow] = field(default_factory=list)
    steps: int = 0
    best_loss: float = math.inf
    seconds: float = 0.0

    @property
    def next_epoch(self) -> int:
        return self.rows[-1].epoch + 1 if self.rows else 0

    def improves(self, loss: float) -> bool:
        if not math.isfinite(loss):
            raise TrainingError(f"the validation loss became {loss}: train again with a lower --learning-rate")
        return loss < self.best_loss * (1 - IMPROVEMENT)

    def take(self, row: EpochRow) -> None:
        self.rows.append(row)
        self.seconds += row.seconds
        if row.saved:
            self.best_loss = row.valid_loss

    def epochs_left(self, loop: LoopSettings) -> Iterator[int]:
        while self.next_epoch < loop.epochs:
            since_best = next((i for i, row in enumerate(reversed(self.rows)) if row.saved), 0)
            if 0 < loop.patience <= since_best:
                return
            if loop.max_minutes is not None and self.seconds >= 60 * loop.max_minutes:
                return
            yield self.next_epoch


class _Epochs:
    """What is trained, set up on its devices: each call is one epoch."""

    def __init__(self, training: Training, fabric: Fabric, listener: Listener) -> None:
        if training.on_pictures:
            training.model.to(memory_format=torch.channels_last)
        self._training, self._fabric, self._listener = training, fabric, listener
        self._model, self._optimizer = fabric.setup(training.model, training.optimizer)
        # A copy of the network where that lies now, on its device.
        decay = training.ema
        self.average = ModelEmaV3(training.model, decay=decay, use_warmup=True) if decay > 0 else None
        self._train, self._valid = (self._set_up(training.loaders[name]) for name in ("train", "valid"))

    def _set_up(self, loader: Loader) -> Loader:
        # The loaders share out the pictures themselves, without one seen twice.
        return cast(Loader, self._fabric.setup_dataloaders(loader, use_distributed_sampler=False))

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and saved: the average, where one is kept."""
        return self._training.model if self.average is None else cast(nn.Module, self.average.module)

    def __call__(self, epoch: int, progress: _Progress) -> EpochRow:
        training, fabric = self._training, self._fabric
        _seed_epoch(training, epoch, fabric)
        size = training.before_epoch(epoch)
        rate = float(training.optimizer.param_groups[0]["lr"])

        def after_step(done: int) -> None:
            progress.steps += 1
            if self.average is not None:
                self.average.update(training.model, step=progress.steps)
            self._listener.step(epoch, done, len(self._train))

        trained = train_one_epoch(
            self._train,
            self._model,
            self._optimizer,
            training.loss,
            fabric=fabric,
            schedule=training.schedule,
            clip=training.clip,
            after_step=after_step,
        )
        if fabric.world_size > 1:
            # Each device has seen other pictures; one network is measured and saved.
            distribute_bn(training.model, fabric.world_size, reduce=True)  # type: ignore[no-untyped-call]
            distribute_bn(self.judged, fabric.world_size, reduce=True)  # type: ignore[no-untyped-call]
        with fabric.autocast():
            valid = valid_one_epoch(self._valid, self.judged, nn.CrossEntropyLoss(), fabric=fabric)
        training.schedule.after_epoch(valid.loss)
        return EpochRow(
            epoch=epoch,
            size=size,
            learning_rate=rate,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            valid_loss=valid.loss,
            valid_accuracy=valid.accuracy,
            seconds=trained.seconds + valid.seconds,
            pictures_per_second=trained.pictures / max(trained.seconds, 1e-9),
            saved=progress.improves(valid.loss),
        )


class _Meter:
    """Sums loss and hits over batches, on the device, so that no step waits for a copy."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device="cpu" if device.type == "mps" else device)

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        labels = targets.argmax(dim=1) if targets.ndim == 2 else targets
        hits = (logits.argmax(dim=1) == labels).sum()
        count = len(labels)
        self._sums += torch.stack([loss.double() * count, hits.double(), hits.new_tensor(count).double()])

    def result(self, fabric: Fabric, started: float) -> EpochResult:
        seconds = self._sums.new_tensor([time.perf_counter() - started])
        sums = fabric.all_reduce(torch.cat([self._sums, seconds]), reduce_op="sum")
        loss, hits, count, spent = (float(value) for value in cast(Tensor, sums))
        if count == 0:
            raise TrainingError("the loader gave no picture: check --batch-size and --limit")
        # The same seconds on all devices, so that all of them find the time used up after the same epoch.
        return EpochResult(loss / count, hits / count, int(count), spent / fabric.world_size)


def _state(training: Training, average: ModelEmaV3 | None, progress: _Progress) -> dict[str, Any]:
    return {
        "architecture": training.architecture,
        "classes": list(training.classes),
        "model": training.model.state_dict(),
        "average": average.module.state_dict() if average is not None else None,
        "optimizer": training.optimizer.state_dict(),
        "scheduler": training.schedule.scheduler.state_dict(),
        "steps": progress.steps,
        "best_loss": progress.best_loss,
        "seconds": progress.seconds,
        "rows": [asdict(row) for row in progress.rows],
    }


def _restore(training: Training, run: RunFolder, average: ModelEmaV3 | None) -> _Progress:
    state = read_state(run.checkpoint)
    if state.get("architecture") != training.architecture or state.get("classes") != list(training.classes):
        raise ModelError(
            f"{run.checkpoint}: the checkpoint is of {state.get('architecture')!r} with other classes or another "
            f"network than {training.architecture!r}: resume with the data and the model of the run"
        )
    try:
        training.model.load_state_dict(state["model"])
        if average is not None and state["average"] is not None:
            average.module.load_state_dict(state["average"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.schedule.scheduler.load_state_dict(state["scheduler"])
        known = {item.name for item in fields(EpochRow)}
        rows = [EpochRow(**{key: row[key] for key in known}) for row in state["rows"]]
        return _Progress(rows, int(state["steps"]), float(state["best_loss"]), float(state["seconds"]))
    except (KeyError, RuntimeError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"{run.checkpoint}: the checkpoint does not fit this run: start the run anew") from error


def _seed_epoch(training: Training, epoch: int, fabric: Fabric) -> None:
    """Let all devices draw the same order of pictures, and each its own crops and drop-outs."""
    seed = training.seed * 1_000_003 + epoch
    start_epoch(training.loaders["train"], seed)
    torch.manual_seed(seed * fabric.world_size + fabric.global_rank)
