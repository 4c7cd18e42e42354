"""One network trained on the devices of a run: in this process, in several started here, or by torchrun.

With several processes, one per device, each opens the run folder and the decoded images, trains on its part and
leaves writing to the first. Everything a process needs is in files, so nothing large is sent to it; the first one
sends its events back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import multiprocessing
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from landmarks.errors import LandmarksError, TrainingError
from landmarks.training.config.settings import RunSettings
from landmarks.training.data.loaders import Data, make_loaders, prepare_data
from landmarks.training.engine.devices import make_fabric, set_threads, started_by_torchrun
from landmarks.training.engine.loggers.base import Logger
from landmarks.training.engine.train import optimize
from landmarks.training.models.networks import NetworkOfRun, build_network, trained_on_images
from landmarks.training.models.transfer import TransferModel
from landmarks.training.models.weights import load_weights
from landmarks.training.runs.folder import EpochRow, RunFolder, has_weights, open_run


def train_images(
    fabric: Fabric,
    data: Data,
    network: NetworkOfRun,
    settings: RunSettings,
    folder: RunFolder,
    *,
    resume: bool,
    logger: Logger | None,
) -> None:
    """Train the whole network on this process's part of the images.

    Args:
        fabric: Launched.
        data: From `prepare_data`.
        network: The same in all processes.
        settings: Of the run.
        folder: Its folder.
        resume: Continue from the checkpoint where there is one.
        logger: Gets the events of the first process.
    """
    network = trained_on_images(network, settings.model)
    loaders = make_loaders(
        data,
        settings.loading,
        settings.augment,
        preprocessing=network.preprocessing,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        pin_memory=fabric.device.type == "cuda",
    )
    resume = resume and folder.checkpoint.is_file()
    optimize(network, loaders, settings, folder, fabric=fabric, resume=resume, logger=logger)


def train_distributed(root: Path, settings: RunSettings, *, resume: bool, logger: Logger) -> None:
    """Train the network of a run on its images, on all devices and machines.

    Under torchrun this process takes its own part, and every other one must call this too.

    Args:
        root: The run folder, with its settings; all machines must see it.
        settings: Of the run.
        resume: Continue from the checkpoint where there is one.
        logger: Gets the events, in the process that calls.

    Raises:
        TrainingError: A process ended before its time, or the loss is not finite.
        LandmarksError: As the parts do.
    """
    fabric = make_fabric(settings.loop, settings.model)
    if started_by_torchrun():
        here: Callable[..., None] = _train_part
        fabric.launch(here, str(root), resume, logger)
        return
    failures: list[LandmarksError] = []
    try:
        with _relayed_to(logger, failures) as sender, _environment_as_before():
            there: Callable[..., None] = _train_part_remotely
            fabric.launch(there, str(root), resume, sender)
    except (ProcessExitedException, ProcessRaisedException) as error:
        if failures:
            raise failures[0] from error
        way_on = f"continue with `resume` {root}" if resume or has_weights(RunFolder(root)) else "train again"
        raise TrainingError(f"{root}: {_why(error)}: {way_on}") from error


def from_checkpoint(settings: RunSettings, run: RunFolder) -> RunSettings:
    """Return the settings of a run with a checkpoint: a backbone has its own weights, and needs no others."""
    init = run.root if settings.model.kind == "transfer" and run.weights.is_file() else None
    return replace(settings, model=replace(settings.model, init=init))


def _train_part_remotely(fabric: Fabric, root: str, resume: bool, sender: Connection) -> None:
    """Train in a process that was started for it, and send its events to the one that started it."""
    try:
        _train_part(fabric, root, resume, _SendingLogger(sender))
    except LandmarksError as error:
        sender.send(("failure", (error,)))
        raise


def _train_part(fabric: Fabric, root: str, resume: bool, logger: Logger) -> None:
    """Train in one of the processes."""
    run, settings = open_run(Path(root))
    set_threads(settings.loop)
    try:
        # One process per machine decodes what its cache lacks; the others find it there.
        with fabric.rank_zero_first(local=True):
            data = prepare_data(settings.data, settings.loading, cache=settings.cache)
        torch.manual_seed(settings.loading.seed)
        if resumes := resume and run.checkpoint.is_file():
            settings = from_checkpoint(settings, run)
        network = build_network(settings.model, data.folder.classes, data.preprocessing)
        # After the whole head of `init` only an epoch that was killed before its checkpoint leaves weights.
        trained = run.weights.is_file() and not resumes and not network.has_head
        if isinstance(network.model, TransferModel) and trained:
            load_weights(run.weights, network.model, network.architecture)  # with its trained head
        train_images(fabric, data, network, settings, run, resume=resumes, logger=logger)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


class _SendingLogger(Logger):
    """Sends its events to the process that started this one."""

    def __init__(self, sender: Connection) -> None:
        self._sender = sender

    def step(self, epoch: int, done: int, total: int) -> None:
        self._sender.send(("step", (epoch, done, total)))

    def epoch(self, row: EpochRow) -> None:
        self._sender.send(("epoch", (row,)))


@contextmanager
def _relayed_to(logger: Logger, failures: list[LandmarksError]) -> Iterator[Connection]:
    """Give a pipe whose events reach the logger, and whose failures the list."""
    calls: dict[str, Callable[..., None]] = {
        "step": logger.step,
        "epoch": logger.epoch,
        "failure": failures.append,
    }
    # No queue: a process that is killed while it holds the lock of a queue would leave it locked.
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)

    def relay() -> None:
        with suppress(EOFError, OSError):  # the last process has ended, maybe in the middle of a message
            while True:
                name, arguments = receiver.recv()
                calls[name](*arguments)

    thread = threading.Thread(target=relay, daemon=True, name="progress")
    thread.start()
    try:
        yield sender
    finally:
        sender.close()
        thread.join(timeout=5)


@contextmanager
def _environment_as_before() -> Iterator[None]:
    """Take back the port and the like that Fabric leaves for the processes it starts: they are of one run."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]


def _why(error: ProcessExitedException | ProcessRaisedException) -> str:
    number = error.error_index + 1
    if isinstance(error, ProcessExitedException) and error.signal_name:
        return f"the process of device {number} was ended by {error.signal_name} (too little memory?)"
    lines = str(error).strip().splitlines()
    return f"the process of device {number} failed ({lines[-1] if lines else 'no reason given'})"
