"""What a run computes on, in which precision, and which processes take part."""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_fabric.utilities.rank_zero import rank_zero_only

from landmarks.errors import SettingsError
from landmarks.tagging.workers import cores
from landmarks.training.config.settings import LoopSettings, ModelSettings
from landmarks.training.models.accelerators import uses_cuda

# It would print precision and processes across the progress bar. Here, so that it holds in every process.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

_PATIENCE = datetime.timedelta(days=1)
"""How long processes wait for one another: the first may decode a large data set while the others wait."""


def make_fabric(loop: LoopSettings, model: ModelSettings | None = None) -> Fabric:
    """Return Fabric, not yet launched; `auto` precision is bf16 where the processor is faster in it.

    For several devices (DDP, Li et al. 2020, https://arxiv.org/abs/2006.15704) it is to be launched with the
    function that each process runs.

    Args:
        loop: Accelerator, devices, machines and precision.
        model: What is trained, by which `auto` precision differs on a CPU; None for `MyModel`.

    Raises:
        SettingsError: This machine has no such devices, they do not compute in this precision, or several
            machines are asked for without torchrun.
    """
    precision: Any = loop.precision if loop.precision != "auto" else _best_precision(loop.accelerator, model)
    if precision == "16-mixed" and not uses_cuda(loop.accelerator) and not torch.backends.mps.is_available():
        raise SettingsError("`precision` 16-mixed needs a GPU: give bf16-mixed, or leave it out")
    try:
        return Fabric(
            accelerator=loop.accelerator,
            devices=loop.devices,
            num_nodes=loop.nodes,
            precision=precision,
            strategy=_strategy(loop),
        )
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise SettingsError(
            f"`accelerator` {loop.accelerator}, `devices` {loop.devices} and `precision` {loop.precision} do not "
            f"work on this machine ({str(error).rstrip('.')}): leave them out"
        ) from error


def launch_fabric(loop: LoopSettings, model: ModelSettings | None = None) -> Fabric:
    """Return Fabric, launched in this process alone; arguments and errors as of `make_fabric`."""
    fabric = make_fabric(loop, model)
    fabric.launch()
    return fabric


def check_processes(loop: LoopSettings) -> None:
    """Refuse a number of processes started by torchrun that differs from the settings.

    Raises:
        SettingsError: The numbers differ, or several machines are asked for without torchrun.
    """
    if started_by_torchrun():
        started, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if (started, local) != (loop.processes, loop.devices):
            raise SettingsError(
                f"`devices` {loop.devices} and `nodes` {loop.nodes} do not fit the {started} processes of "
                f"torchrun: set `devices` to {local} and `nodes` to {started // local}"
            )
    elif loop.nodes > 1:
        raise SettingsError(
            f"`nodes` {loop.nodes} needs torchrun on every machine: torchrun --nnodes {loop.nodes} "
            f"--nproc-per-node {loop.devices} ... -m landmarks train ..."
        )


def started_by_torchrun() -> bool:
    """Tell whether the processes of the run exist already, this being one of them."""
    return bool(TorchElasticEnvironment.detect())


def is_first_process() -> bool:
    """Tell whether this is the process that writes the run, not one of the others, for further devices."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def set_threads(loop: LoopSettings) -> None:
    """Let PyTorch use the threads of the settings, or this process's part of the cores where there are several."""
    if loop.threads:
        torch.set_num_threads(loop.threads)
    elif loop.devices > 1:
        torch.set_num_threads(max(1, cores() // loop.devices))


@contextmanager
def torch_as_before() -> Iterator[None]:
    """Give PyTorch back its number of threads and its random state, the caller's, at the end of the block."""
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def _strategy(loop: LoopSettings) -> DDPStrategy | str:
    if loop.processes == 1:
        return "auto"
    if started_by_torchrun():
        return DDPStrategy(timeout=_PATIENCE)
    # Named, because Fabric would take a Slurm job for processes that Slurm has started.
    return DDPStrategy(start_method="spawn", timeout=_PATIENCE, cluster_environment=LightningEnvironment())


def _best_precision(accelerator: str, model: ModelSettings | None) -> str:
    if uses_cuda(accelerator):
        # GPUs before Ampere emulate bf16, slower than 32 bits; 16 bits are fast there.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if native else "16-mixed"
    # The depthwise convolutions of small backbones are slower in bf16, with its instructions too: fine-tuning took
    # 1.4 to 2 times as long (`benchmarks/results/training_speed.md`).
    if model is not None and model.kind == "transfer":
        return "32-true"
    # Without these instructions bf16 is emulated and slower than 32 bits.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"
