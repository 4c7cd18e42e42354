"""The exporter of torch takes many seconds per network: in the tests each network is exported once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from filelock import FileLock


def remember_exports(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let `torch.onnx.export` return what it returned for the same modules, weights and options before.

    Args:
        patch: Undoes it.
        folder: Keeps the graphs; several processes may share it.
    """
    export: Callable[..., Any] = torch.onnx.export

    def remembered(model: torch.nn.Module, args: tuple[torch.Tensor, ...], **options: Any) -> Any:
        digest = hashlib.sha256(f"{model} {[(arg.shape, arg.dtype) for arg in args]} {options}".encode())
        for name, value in model.state_dict().items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        path = folder / f"{digest.hexdigest()[:20]}.onnx"
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                onnx.save(export(model, args, **options).model_proto, path)
        return SimpleNamespace(model_proto=onnx.load(path))

    patch.setattr(torch.onnx, "export", remembered)
