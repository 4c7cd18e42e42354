"""Opens TorchScript files."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from landmarks.errors import ModelError


def open_torchscript(path: Path, *, missing: str, damaged: str) -> torch.jit.ScriptModule:
    """Load a TorchScript file, in evaluation mode.

    Raises:
        ModelError: The file is missing, or is not TorchScript; `missing` and `damaged` say what to do then.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file: {missing}")
    try:
        with warnings.catch_warnings(action="ignore"):  # about its deprecation, which a user cannot change
            module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # RuntimeError, ValueError, UnicodeDecodeError and others, depending on the damage
        raise ModelError(f"{path}: not a TorchScript file: {damaged}") from error
    return module.eval()
