"""The training loop, on Lightning Fabric: one device or several, 32 bits or mixed precision, the same lines.

`train_one_epoch`, `valid_one_epoch` and `one_epoch_test` are one pass each. `optimize` puts them together in a
`Trainer`, whose `fit` is the loop; it keeps the weights that `is_kept` chooses and one checkpoint per epoch. Every
epoch begins by seeding torch from (seed, epoch), so a run that was killed and resumed draws the same images, crops
and drop-outs as an undisturbed one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import cast

import torch
from lightning_fabric import Fabric
from timm.utils.distributed import distribute_bn
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer

from landmarks.errors import ModelError, TrainingError
from landmarks.training.config.settings import LoopSettings, RunSettings
from landmarks.training.data.loaders import Loader, set_train_size
from landmarks.training.data.sampling import seed_of, set_epoch
from landmarks.training.engine.allocator import kept_memory
from landmarks.training.engine.checkpoints import kept_settings, read_state, require_settings, save_state
from landmarks.training.engine.class_hits import CountingLoss
from landmarks.training.engine.devices import launch_fabric
from landmarks.training.engine.loggers.base import Logger, Loggers
from landmarks.training.engine.loggers.tensorboard import TensorBoardLogger
from landmarks.training.engine.optimization import (
    Schedule,
    get_optimizer,
    get_scheduler,
    get_training_loss,
    is_kept,
    last_improvement,
)
from landmarks.training.engine.predicting import predicted_batches
from landmarks.training.models.networks import NetworkOfRun
from landmarks.training.models.transfer import Head
from landmarks.training.models.weights import save_weights
from landmarks.training.runs.class_history import add_class_row
from landmarks.training.runs.folder import EpochRow, RunFolder, write_history

CHECK_EVERY = 50
"""Steps between two looks at the loss on an accelerator: each look waits for the device. On a CPU every step."""


@dataclass(frozen=True)
class EpochResult:
    """Mean loss and accuracy of one pass, and its speed.

    Attributes:
        loss: Mean cross entropy per image.
        accuracy: Fraction of images whose highest logit is the (largest part of the) target, in [0, 1].
        images: Images seen.
        seconds: Wall time.
    """

    loss: float
    accuracy: float
    images: int
    seconds: float


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
        loader: Of training images.
        model: The network, set up by Fabric where `fabric` is given.
        optimizer: Likewise.
        loss: On (logits, targets).
        fabric: Precision and devices, or None for the CPU in 32 bits.
        schedule: Moved after each step where it asks for that.
        clip: Largest norm of the gradient, or 0 for no clipping.
        after_step: Called with the number of steps done.

    Raises:
        TrainingError: The loss is not finite. On an accelerator this is noticed up to `CHECK_EVERY` steps later.
    """
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    model.train()
    meter = _Meter(fabric)
    interval = 1 if fabric.device.type == "cpu" else CHECK_EVERY
    for step, (images, targets) in enumerate(loader, start=1):
        logits = model(_channels_last(images))
        value = loss(logits, targets)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(value)
        if clip > 0:
            fabric.clip_gradients(model, optimizer, max_norm=clip, error_if_nonfinite=False)
        meter.add(value.detach(), logits.detach(), targets)
        if step % interval == 0:
            meter.check(step)
        optimizer.step()
        if schedule:
            schedule.after_step()
        if after_step:
            after_step(step)
    result = meter.result()
    _require_finite(result.loss, "the loss")
    return result


@torch.no_grad()
def valid_one_epoch(
    loader: Loader, model: nn.Module, loss: nn.Module, *, fabric: Fabric | None = None
) -> EpochResult:
    """Measure loss and accuracy over one pass without learning; arguments as in `train_one_epoch`."""
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    model.eval()
    meter = _Meter(fabric)
    for images, targets in loader:
        logits = model(_channels_last(images))
        meter.add(loss(logits, targets), logits, targets)
    return meter.result()


def one_epoch_test(loader: Loader, model: nn.Module) -> tuple[Tensor, Tensor]:
    """Collect the predictions of a network over one pass, in 32 bits and in the order of the loader.

    Returns:
        Probabilities (N, K) float32 and labels (N,) int64, on the CPU.
    """
    probabilities, labels = zip(*predicted_batches(loader, model), strict=True)
    return torch.cat(probabilities), torch.cat(labels)


def optimize(
    network: NetworkOfRun,
    loaders: Mapping[str, Loader],
    settings: RunSettings,
    folder: RunFolder,
    *,
    fabric: Fabric | None = None,
    resume: bool = False,
    logger: Logger | None = None,
) -> list[EpochRow]:
    """Train a network until the epochs, the time or the patience are used up.

    Args:
        network: What to train; a `Head` is trained on embeddings.
        loaders: `train` and `valid`.
        settings: Optimizer, schedule, crop sizes, length and seed.
        folder: Gets `metrics.csv`, the checkpoint, the best weights and TensorBoard's files.
        fabric: Launched; or None for the one device that `settings.loop` names.
        resume: Continue from the checkpoint in `folder`.
        logger: Gets an event after each step and epoch, in the first process only.

    Returns:
        One row per epoch, those before a resume included.

    Raises:
        TrainingError: The loss is not finite; the last good weights are kept.
        ModelError: The checkpoint is damaged or of another network.
    """
    trainer = Trainer(network, loaders, settings, fabric or launch_fabric(settings.loop, settings.model))
    if resume:
        trainer.restore(folder)
    with kept_memory(), closing(TensorBoardLogger(folder.tensorboard)) as board:
        first = trainer.fabric.is_global_zero
        return trainer.fit(folder, Loggers(board, *([logger] if logger else [])) if first else Loggers())


class Trainer:
    """A network with its optimizer, schedule and loaders on their devices, and how far its training has come.

    Args:
        network: What to train.
        loaders: `train` and `valid`.
        settings: Of the run.
        fabric: Launched.

    Attributes:
        rows: The finished epochs.
    """

    def __init__(
        self, network: NetworkOfRun, loaders: Mapping[str, Loader], settings: RunSettings, fabric: Fabric
    ) -> None:
        self.network, self.settings, self.fabric = network, settings, fabric
        self.loader, how = loaders["train"], settings.optimization
        self.on_images = not isinstance(network.model, Head)
        if self.on_images:
            network.model.to(memory_format=torch.channels_last)
        optimizer = get_optimizer(network.model, how, device=fabric.device.type)
        epochs, steps = settings.loop.epochs, len(self.loader)
        self.schedule = get_scheduler(optimizer, how, epochs=epochs, steps_per_epoch=steps)
        self.loss = get_training_loss(settings, self.loader)
        self.model, self.optimizer = fabric.setup(network.model, optimizer)
        # A copy of the network on its device: what is validated and saved.
        self.average = ModelEmaV3(network.model, decay=how.ema, use_warmup=True) if how.ema > 0 else None
        # The samplers divide the images among the processes themselves, without showing one twice.
        self.train_batches, self.valid_batches = (
            cast(Loader, fabric.setup_dataloaders(loaders[split], use_distributed_sampler=False))
            for split in ("train", "valid")
        )
        self.rows: list[EpochRow] = []
        self.steps = 0
        self.seconds = 0.0

    def fit(self, folder: RunFolder, logger: Logger) -> list[EpochRow]:
        """Run the epochs that are left, and return the rows of all."""
        for epoch in self.epochs_left():
            size = self.start_epoch(epoch)
            learning_rate = max(float(group["lr"]) for group in self.optimizer.param_groups)
            trained = self.train_epoch(logger, epoch)
            valid = self.validate()
            losses = [*(row.valid_loss for row in self.rows), valid.loss]
            self.schedule.after_epoch(valid.loss)
            row = EpochRow(
                epoch=epoch,
                size=size,
                learning_rate=learning_rate,
                train_loss=trained.loss,
                train_accuracy=trained.accuracy,
                valid_loss=valid.loss,
                valid_accuracy=valid.accuracy,
                seconds=trained.seconds + valid.seconds,
                images_per_second=trained.images / max(trained.seconds, 1e-9),
                saved=is_kept(losses, self.settings.model, on_images=self.on_images),
            )
            self.rows.append(row)
            self.seconds += row.seconds
            if self.fabric.is_global_zero:
                self.save(folder, row)
            logger.epoch(row)
        return self.rows

    def epochs_left(self) -> Iterator[int]:
        """Yield the epochs to come, until their number, the time or the patience is used up."""
        loop: LoopSettings = self.settings.loop
        while len(self.rows) < loop.epochs:
            best = last_improvement([row.valid_loss for row in self.rows])
            if 0 < loop.patience < len(self.rows) - best:
                return
            if loop.max_minutes is not None and self.seconds >= 60 * loop.max_minutes:
                return
            yield len(self.rows)

    def start_epoch(self, epoch: int) -> int:
        """Seed the epoch and set its crop size; returns the size in pixels, 0 for embeddings."""
        set_epoch(self.loader, epoch)
        # All devices draw the same order of images, and each its own crops and drop-outs.
        seed = seed_of(self.settings.loading.seed, epoch)
        torch.manual_seed(seed * self.fabric.world_size + self.fabric.global_rank)
        if not self.on_images:
            return 0
        augment = self.settings.augment
        size = augment.size_of_epoch(epoch, self.settings.loop.epochs)
        set_train_size(self.loader, augment, size, self.network.preprocessing)
        return size

    def train_epoch(self, logger: Logger, epoch: int) -> EpochResult:
        """Train for one pass over the training batches."""
        return train_one_epoch(
            self.train_batches,
            self.model,
            self.optimizer,
            self.loss,
            fabric=self.fabric,
            schedule=self.schedule,
            clip=self.settings.optimization.clip,
            after_step=partial(self.after_step, logger, epoch),
        )

    def after_step(self, logger: Logger, epoch: int, done: int) -> None:
        """Count a step, and move the average of the weights towards them."""
        self.steps += 1
        if self.average is not None:
            self.average.update(self.network.model, step=self.steps)
        logger.step(epoch, done, len(self.train_batches))

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and saved: the average, where there is one."""
        return self.network.model if self.average is None else cast(nn.Module, self.average.module)

    def validate(self) -> EpochResult:
        """Measure the network on the validation images."""
        if self.fabric.world_size > 1:
            # Each device has seen other images; one network is measured and saved.
            for model in (self.network.model, self.evaluated):
                distribute_bn(model, self.fabric.world_size, reduce=True)  # type: ignore[no-untyped-call]
        with self.fabric.autocast():
            loss = CountingLoss(len(self.network.classes), self.fabric)
            valid = valid_one_epoch(self.valid_batches, self.evaluated, loss, fabric=self.fabric)
        self.class_accuracies = loss.accuracies()
        _require_finite(valid.loss, "the validation loss")
        return valid

    def save(self, folder: RunFolder, row: EpochRow) -> None:
        """Write the weights where they are to be kept, `metrics.csv` and the checkpoint."""
        network = self.network
        if row.saved:
            save_weights(folder.weights, self.evaluated, network.architecture, network.classes)
        write_history(folder.history, self.rows)
        add_class_row(folder.class_history, network.classes, row.epoch, self.class_accuracies)
        state = {
            "architecture": network.architecture,
            "classes": list(network.classes),
            "model": network.model.state_dict(),
            "average": self.average.module.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.schedule.scheduler.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),  # of the gradient scaler, in 16 bits
            "settings": kept_settings(self.settings),
            "steps": self.steps,
            "seconds": self.seconds,
            "rows": [asdict(row) for row in self.rows],
        }
        save_state(folder.checkpoint, state)

    def restore(self, folder: RunFolder) -> None:
        """Go back to where the checkpoint of `folder` was written; raises `ModelError`."""
        network, state = self.network, read_state(folder.checkpoint)
        if (state.get("architecture"), state.get("classes")) != (network.architecture, list(network.classes)):
            raise ModelError(
                f"{folder.checkpoint}: of {state.get('architecture')!r}, not of {network.architecture!r} with the "
                "classes of the run: resume with the data and the model of the run"
            )
        require_settings(folder, state, self.settings)
        try:
            network.model.load_state_dict(state["model"])
            if self.average is not None and state["average"] is not None:
                self.average.module.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.scheduler.load_state_dict(state["scheduler"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            columns = [item.name for item in fields(EpochRow)]
            self.rows = [EpochRow(**{name: row[name] for name in columns}) for row in state["rows"]]
            self.steps, self.seconds = state["steps"], state["seconds"]
        except (KeyError, RuntimeError, TypeError, AttributeError, ValueError) as error:
            raise ModelError(f"{folder.checkpoint}: does not fit this run: start a new run") from error
        if self.fabric.is_global_zero:
            write_history(folder.history, self.rows)  # the file may be damaged


class _Meter:
    """Sums loss and hits of a pass on the device; the CPU waits for it only in `check` and `result`."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric, self._started = fabric, time.perf_counter()
        device = "cpu" if fabric.device.type == "mps" else fabric.device  # which has no 64 bits
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        labels = targets.argmax(dim=1) if targets.ndim == 2 else targets
        hits = (logits.argmax(dim=1) == labels).sum()
        count = len(labels)
        # Filled on the device: a tensor made of a Python number would be copied to it, and the copy waits.
        counted = torch.full_like(hits, count, dtype=torch.float32)
        self._sums += torch.stack([loss.float() * count, hits.float(), counted]).to(self._sums)

    def check(self, step: int) -> None:
        """Refuse a loss that is not finite; on all devices at the same step, so that none waits for another."""
        loss, _, count = self._over_devices(self._sums).tolist()
        _require_finite(loss / count, f"by step {step} the loss")

    def result(self) -> EpochResult:
        loss, hits, count = self._over_devices(self._sums).tolist()
        # Not before the device has done what was asked of it, which may be many steps.
        spent = self._sums.new_full((1,), time.perf_counter() - self._started)
        (seconds,) = self._over_devices(spent).tolist()
        if count == 0:
            raise TrainingError("the loader gave no image: check `batch_size` and `limit`")
        # The same seconds on all devices, so that all of them find the time used up after the same epoch.
        return EpochResult(loss / count, hits / count, int(count), seconds / self._fabric.world_size)

    def _over_devices(self, values: Tensor) -> Tensor:
        return cast(Tensor, self._fabric.all_reduce(values.clone(), reduce_op="sum"))


def _require_finite(loss: float, name: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"{name} became {loss}: train again with a lower `learning_rate`")


def _channels_last(images: Tensor) -> Tensor:
    """Return images in the memory layout in which convolutions are fastest; embeddings as they are."""
    return images.to(memory_format=torch.channels_last) if images.ndim == 4 else images
