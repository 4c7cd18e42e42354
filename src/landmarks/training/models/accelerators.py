"""The accelerator that the settings select on this machine."""

from __future__ import annotations

import torch


def uses_cuda(accelerator: str) -> bool:
    """Tell whether this accelerator of the settings is an NVIDIA GPU here."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
