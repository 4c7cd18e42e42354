"""The accelerator that the settings select on this machine."""

from __future__ import annotations

import torch


def uses_cuda(accelerator: str) -> bool:
    """Return whether this accelerator setting selects an NVIDIA GPU on this machine."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
