"""What a run computes on, and in which precision."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_fabric.utilities.rank_zero import rank_zero_only

from landmarks.errors import SettingsError
from landmarks.training.settings import LoopSettings


def make_fabric(loop: LoopSettings) -> Fabric:
    """Return Fabric, not yet launched; `auto` precision is bf16 where the processor computes in it.

    Args:
        loop: Accelerator, devices and precision.

    Raises:
        SettingsError: This machine has no such devices, or they do not compute in this precision.
    """
    precision: Any = loop.precision if loop.precision != "auto" else _best_precision(loop.accelerator)
    # It would say the precision at every call, across the progress display.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        return Fabric(accelerator=loop.accelerator, devices=loop.devices, precision=precision)
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise SettingsError(
            f"--accelerator {loop.accelerator}, --devices {loop.devices} and --precision {loop.precision} do not "
            f"work on this machine ({str(error).rstrip('.')}): leave them out"
        ) from error


def is_first_process() -> bool:
    """Tell whether this is the process the user started, not one that Fabric started for a further device."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def _best_precision(accelerator: str) -> str:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    # Without these instructions bf16 is emulated and slower than 32 bits.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"
