"""Exporting a network and quantising it take many seconds: in the tests each is done once per network."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from filelock import FileLock
from onnxruntime.quantization import CalibrationDataReader

from landmarks.training.export import quantization


def remember_exports(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let exporting and quantising return what they returned for the same network and options before.

    Args:
        patch: Undoes it.
        folder: Keeps the graphs; several processes may share it.
    """
    export: Callable[..., Any] = torch.onnx.export

    def remembered(model: torch.nn.Module, args: tuple[torch.Tensor, ...], **options: Any) -> Any:
        if "f" in options:  # the exporter for TorchScript, which writes to a file
            return export(model, args, **options)
        digest = hashlib.sha256(f"{model} {[(arg.shape, arg.dtype) for arg in args]} {options}".encode())
        for name, value in model.state_dict().items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        path = folder / f"{digest.hexdigest()[:20]}.onnx"
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                onnx.save(export(model, args, **options).model_proto, path)
        return SimpleNamespace(model_proto=onnx.load(path))

    patch.setattr(torch.onnx, "export", remembered)
    _remember_int8(patch, folder)


def _remember_int8(patch: pytest.MonkeyPatch, folder: Path) -> None:
    quantise: Callable[..., None] = quantization.quantize_static

    def remembered(source: str, target: str, pictures: Any, **options: Any) -> None:
        shown = list(iter(pictures.get_next, None))
        digest = hashlib.sha256(Path(source).read_bytes() + f"{options}".encode())
        for inputs in shown:
            digest.update(inputs["pictures"].tobytes())
        path = folder / f"{digest.hexdigest()[:20]}.int8.onnx"
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                quantise(source, target, _Again(shown), **options)
                shutil.copy(target, path)
        shutil.copy(path, target)

    patch.setattr(quantization, "quantize_static", remembered)


class _Again(CalibrationDataReader):  # type: ignore[misc]
    """Pictures that were read once already."""

    def __init__(self, inputs: Iterable[dict[str, np.ndarray]]) -> None:
        self._rest = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rest, None)
