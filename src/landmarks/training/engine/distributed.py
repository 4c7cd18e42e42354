"""One network trained by several processes, one a device: started here, or by torchrun on several machines.

Each process opens the run folder and the decoded pictures, trains on its share, and leaves writing to the first.
What a process does comes from files, so nothing large is sent to it; the first one sends its progress back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import multiprocessing
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from landmarks.errors import LandmarksError, TrainingError
from landmarks.training.config.settings import LoopSettings
from landmarks.training.data.loaders import prepare_data
from landmarks.training.engine.checkpoints import load_weights
from landmarks.training.engine.devices import make_fabric, set_threads, started_by_torchrun
from landmarks.training.engine.stages import Stage
from landmarks.training.engine.train import Listener
from landmarks.training.models.networks import build_network
from landmarks.training.models.transfer import TransferModel
from landmarks.training.runs.folder import EpochRow, open_run


def train_together(root: Path, loop: LoopSettings, *, resume: bool, listener: Listener) -> None:
    """Train the network of a run on its pictures, on all devices and machines.

    Under torchrun this process takes its own share, and every other one must call this too.

    Args:
        root: The run folder, with its settings; all machines must see it.
        loop: Of the run.
        resume: Continue from the checkpoint where there is one.
        listener: Told how it goes, in the process that calls.

    Raises:
        TrainingError: A process ended before its time, or the loss is not a number.
        LandmarksError: As the parts do.
    """
    fabric = make_fabric(loop)
    if started_by_torchrun():
        here: Callable[..., None] = _train_share
        fabric.launch(here, str(root), resume, listener)
        return
    failures: list[LandmarksError] = []
    try:
        with _told_to(listener, failures) as told, _environment_as_before():
            there: Callable[..., None] = _train_and_tell
            fabric.launch(there, str(root), resume, told)
    except (ProcessExitedException, ProcessRaisedException) as error:
        if failures:
            raise failures[0] from error
        raise TrainingError(f"{root}: {_why(error)}: continue with --resume {root}") from error


def _train_and_tell(fabric: Fabric, root: str, resume: bool, told: Connection) -> None:
    """Train in a process that was started for it, and tell the one that started it how it goes."""
    listener = _Sender(told).listener() if fabric.is_global_zero else Listener()
    try:
        _train_share(fabric, root, resume, listener)
    except LandmarksError as error:
        told.send(("failure", (error,)))
        raise


def _train_share(fabric: Fabric, root: str, resume: bool, listener: Listener) -> None:
    """Train in one of the processes."""
    run, settings = open_run(Path(root))
    set_threads(settings.loop)
    try:
        # One process a machine decodes what its cache lacks; the others find it there.
        with fabric.rank_zero_first(local=True):
            data = prepare_data(settings.data, settings.loading, cache=settings.cache)
        torch.manual_seed(settings.loading.seed)
        network = build_network(settings.model, data.folder.classes, data.preprocessing)
        stage = Stage(run, settings, resume, listener)
        if isinstance(network.model, TransferModel) and run.weights.is_file() and not stage.resumes:
            load_weights(run.weights, network.model, network.architecture)  # with its trained head
        stage.train_pictures(fabric, data, network)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


class _Sender:
    """A listener that sends what it hears to the process that started this one."""

    def __init__(self, told: Connection) -> None:
        self._told = told

    def listener(self) -> Listener:
        return Listener(self._step, self._epoch)

    def _step(self, epoch: int, done: int, total: int) -> None:
        self._told.send(("step", (epoch, done, total)))

    def _epoch(self, row: EpochRow) -> None:
        self._told.send(("epoch", (row,)))


@contextmanager
def _told_to(listener: Listener, failures: list[LandmarksError]) -> Iterator[Connection]:
    """Give a pipe whose calls reach the listener, and whose failures the list."""
    calls: dict[str, Callable[..., None]] = {
        "step": listener.step,
        "epoch": listener.epoch,
        "failure": failures.append,
    }
    # No queue: a process that is killed while it holds the lock of a queue would leave it locked.
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)

    def relay() -> None:
        with suppress(EOFError, OSError):  # the last process has ended, maybe in the middle of a word
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
