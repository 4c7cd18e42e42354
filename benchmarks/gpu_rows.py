"""Measurements of `benchmarks/gpu.py`: each function returns the cells of one row."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from gpu_setup import Configuration, Same, Setup
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn
from torch.utils.data import DataLoader
from training_speed import Plain

from landmarks.training.config.settings import Precision, RunSettings
from landmarks.training.data.loaders import Data, make_loaders
from landmarks.training.engine.devices import launch_fabric
from landmarks.training.engine.distributed import train_images
from landmarks.training.engine.loggers.base import Logger, Loggers
from landmarks.training.engine.optimization import get_optimizer
from landmarks.training.engine.pipeline import resume_run, train_run
from landmarks.training.engine.train import Trainer, train_one_epoch
from landmarks.training.models.networks import NetworkOfRun
from landmarks.training.runs.folder import EpochRow, RunFolder


class Rows(Logger):
    """Keeps the rows of a training."""

    def __init__(self) -> None:
        self.rows: list[EpochRow] = []

    def epoch(self, row: EpochRow) -> None:
        """Keep a row."""
        self.rows.append(row)


class InterruptError(Exception):
    """Ends a training on purpose."""


class Interrupter(Logger):
    """Ends a training after its first epoch."""

    def epoch(self, row: EpochRow) -> None:  # noqa: ARG002 - of the protocol
        """End the training."""
        raise InterruptError


def throughput(setup: Setup, how: Configuration, loading: float) -> list[str]:
    """Images/s of the network alone, of our loop on a batch in memory, and of our loop with its loaders.

    Args:
        setup: What to train.
        how: Precision and layout.
        loading: Images/s that the loaders give, which decides the length of the epoch.
    """
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=True) if how.tuned else nullcontext()
    with flags, TemporaryDirectory() as folder:
        settings, network = setup.settings(how.precision), setup.network(how.precision)
        if how.compiled:
            network.model.compile()
        fabric = launch_fabric(settings.loop)
        if not how.channels_last:
            optimizer = get_optimizer(network.model, settings.optimization, device=fabric.device.type)
            model, optimizer = fabric.setup(network.model, optimizer)
            return [f"{alone(setup, fabric, model, optimizer, channels_last=False):.0f}", "-", "-", "-"]
        loaders = make_loaders(setup.prepared(), settings.loading, settings.augment)
        trainer = Trainer(network, loaders, settings, fabric)
        limit = alone(setup, fabric, trainer.model, trainer.optimizer)
        loop = in_memory(setup, trainer, limit)
        data = setup.prepared(setup.whole_batches(min(loading, limit)))
        ours = epoch(fabric, data, network, settings, Path(folder)).images_per_second
    return [f"{limit:.0f}", f"{loop:.0f} ({loop / limit:.2f})", f"{ours:.0f}", f"{ours / min(limit, loading):.2f}"]


def alone(setup: Setup, fabric: Fabric, model: nn.Module, optimizer: Any, *, channels_last: bool = True) -> float:
    """Images/s of forward, backward and step on one batch in memory: the limit of the device."""
    images, labels = setup.batch_in_memory()
    images = images if channels_last else images.contiguous()
    model.train()

    def step() -> None:
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()

    for _ in range(3 if setup.device == "cuda" else 1):
        step()
    return setup.batch * steps_per_second(step, setup)


def steps_per_second(step: Callable[[], None], setup: Setup) -> float:
    """Repeat a step for as long as the setup asks."""
    group = 10 if setup.device == "cuda" else 1
    wait(setup.device)
    started, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - started < setup.seconds:
        for _ in range(group):
            step()
        wait(setup.device)
        done += group
    return done / (time.perf_counter() - started)


def wait(device: str) -> None:
    """Wait until the device has done what it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


def in_memory(setup: Setup, trainer: Trainer, limit: float) -> float:
    """Images/s of our loop, clipping and averaging included, on one batch in memory."""
    batch = setup.batch_in_memory()

    def loop(steps: int) -> float:
        result = train_one_epoch(
            DataLoader(Same(batch, steps), batch_size=None),
            trainer.model,
            trainer.optimizer,
            trainer.loss,
            fabric=trainer.fabric,
            clip=trainer.settings.optimization.clip,
            after_step=partial(trainer.after_step, Loggers(), 0),
        )
        return result.images / result.seconds

    loop(2)
    return loop(max(2, round(limit * setup.seconds / setup.batch)))


def epoch(fabric: Fabric, data: Data, network: NetworkOfRun, settings: RunSettings, folder: Path) -> EpochRow:
    """Train as `landmarks train` does and return the last row of `metrics.csv`."""
    seen = Rows()
    train_images(fabric, data, network, settings, RunFolder(folder), resume=False, logger=seen)
    return seen.rows[-1]


def loading_speed(setup: Setup) -> tuple[float, float]:
    """Return the seconds until the first batch of our loader, and its images/s once every worker has given one."""
    settings = setup.settings("32-true")
    skipped, enough = max(1, setup.workers), 4 * max(1, setup.workers)
    data = setup.prepared(16 * setup.batch * enough)
    loader = make_loaders(data, settings.loading, settings.augment, pin_memory=setup.device == "cuda")["train"]
    begun = time.perf_counter()
    first, since, images = 0.0, begun, 0
    for number, (pictures, _) in enumerate(loader, start=1):
        now = time.perf_counter()
        first = first or now - begun
        images = images + len(pictures) if number > skipped else 0
        since = now if number == skipped else since
        if number >= enough and now - since >= setup.seconds:
            break
    return first, images / (now - since)


def plain_speed(setup: Setup, images_per_second: float) -> list[str]:
    """Images/s of the plain loop of torchvision on the device, after one epoch of warm-up."""
    pictures = setup.whole_batches(images_per_second)
    loop = Plain(
        setup.data,
        setup.size,
        pictures,
        setup.workers,
        device=setup.device,
        batch=setup.batch,
        network=lambda _: setup.network("32-true").model,
    )
    loop.epoch()
    return [f"{loop.epoch():.0f}"]


def ddp(setup: Setup, precision: Precision) -> list[str]:
    """Images/s of our loop on a batch in memory without DDP and with it, and what an epoch with it learned."""
    settings = setup.settings(precision)
    loaders = make_loaders(setup.prepared(), settings.loading, settings.augment)
    trainer = Trainer(setup.network(precision), loaders, settings, launch_fabric(settings.loop))
    limit = alone(setup, trainer.fabric, trainer.model, trainer.optimizer)
    single = in_memory(setup, trainer, limit)
    with one_process(setup.device, precision) as fabric, TemporaryDirectory() as folder:
        row = epoch(fabric, setup.prepared(), setup.network(precision), settings, Path(folder))
        trainer = Trainer(setup.network(precision), loaders, settings, fabric)
        many = in_memory(setup, trainer, limit)
    return [f"{single:.0f}", f"{many:.0f}", f"{many / single:.2f}", f"{row.valid_loss:.3f}"]


@contextmanager
def one_process(device: str, precision: Precision) -> Iterator[Fabric]:
    """Give Fabric with DDP of this process alone."""
    before = dict(os.environ)
    fabric = Fabric(
        accelerator=device, devices=1, strategy=DDPStrategy(timeout=timedelta(minutes=1)), precision=precision
    )
    try:
        fabric.launch()
        yield fabric
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in set(os.environ) - set(before):
            del os.environ[name]


def learned(setup: Setup, device: str, precision: Precision, *, epochs: int, tf32: bool = True) -> EpochRow:
    """Train from one seed on a device, and return the last row."""
    setup = replace(setup, device=device)
    usual = setup.settings(precision)
    settings = replace(usual, loop=replace(usual.loop, epochs=epochs))
    flags = nullcontext() if tf32 else torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with flags, TemporaryDirectory() as folder:
        return epoch(
            launch_fabric(settings.loop), setup.prepared(), setup.network(precision), settings, Path(folder)
        )


def whole_run(setup: Setup, *, frozen: bool = False, interrupted: bool = False) -> list[str]:
    """Train, evaluate and report a run in the precision that `auto` takes; perhaps interrupt and resume it."""
    usual = setup.settings("auto", frozen=frozen)
    settings = replace(
        usual,
        model=replace(usual.model, views=2) if setup.kind == "transfer" else usual.model,
        loop=replace(usual.loop, epochs=2, accelerator="auto" if setup.device == "cuda" else "cpu"),
    )
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        if interrupted:
            try:
                train_run(settings, out, loggers=[Interrupter()])
            except InterruptError:
                run = resume_run(out)
        else:
            run = train_run(settings, out)
        accuracy = run.metrics("test")["top1"]["value"]
    return [f"{time.perf_counter() - started:.1f}", f"{accuracy:.2f}"]


def waits(setup: Setup) -> list[str]:
    """Count how often the steps of an epoch wait for the device."""
    settings = setup.settings("auto")
    network = setup.network("auto")
    loaders = make_loaders(setup.prepared(), settings.loading, settings.augment, pin_memory=setup.device == "cuda")
    trainer = Trainer(network, loaders, settings, launch_fabric(settings.loop))
    limit = alone(setup, trainer.fabric, trainer.model, trainer.optimizer)
    in_memory(setup, trainer, limit)  # what is done once is done
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        if setup.device == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            trainer.train_epoch(Loggers(), 0)
        finally:
            if setup.device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    count = sum("synchroniz" in str(item.message) for item in seen)
    return [str(len(trainer.train_batches)), str(count) if setup.device == "cuda" else "no GPU"]
