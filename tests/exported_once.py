"""Exporting a network and quantising it take many seconds: in the tests each is done once per network.

Networks that differ only in a linear head, as those with a frozen backbone do, have the same graph but for the
weights of the head, which quantisation leaves alone: they share one export.
"""

from __future__ import annotations

import hashlib
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

HEAD = ("model.head.weight", "model.head.bias")


def remember_exports(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let exporting and quantising return what they returned for the same network and options before.

    Args:
        patch: Undoes it.
        folder: Keeps the graphs; several processes may share it.
    """
    _remember_onnx(patch, folder)
    _remember_int8(patch, folder)


def _remember_onnx(patch: pytest.MonkeyPatch, folder: Path) -> None:
    export: Callable[..., Any] = torch.onnx.export

    def remembered(model: torch.nn.Module, args: tuple[torch.Tensor, ...], **options: Any) -> Any:
        if "f" in options:  # the exporter for TorchScript, which writes to a file
            return export(model, args, **options)
        digest = hashlib.sha256(f"{model} {[(arg.shape, arg.dtype) for arg in args]} {options}".encode())
        weights = {name: value.detach().cpu().contiguous().numpy() for name, value in model.state_dict().items()}
        linear = isinstance(getattr(getattr(model, "model", None), "head", None), torch.nn.Linear)
        head = {name: weights.pop(name) for name in HEAD} if linear else {}
        for name, values in weights.items():
            digest.update(name.encode() + values.tobytes())
        path = folder / f"{digest.hexdigest()[:20]}.onnx"
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                onnx.save(export(model, args, **options).model_proto, path)
        return SimpleNamespace(model_proto=_with_head(onnx.load(path), head))

    patch.setattr(torch.onnx, "export", remembered)


def _remember_int8(patch: pytest.MonkeyPatch, folder: Path) -> None:
    quantise: Callable[..., None] = quantization.quantize_static

    def remembered(source: str, target: str, pictures: Any, **options: Any) -> None:
        shown = list(iter(pictures.get_next, None))
        graph = onnx.load(source)
        head = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in graph.graph.initializer
            if tensor.name in HEAD
        }
        _with_head(graph, {name: np.zeros_like(values) for name, values in head.items()})
        digest = hashlib.sha256(graph.SerializeToString() + f"{options}".encode())
        for inputs in shown:
            digest.update(inputs["pictures"].tobytes())
        path = folder / f"{digest.hexdigest()[:20]}.int8.onnx"
        with FileLock(f"{path}.lock"):
            if not path.is_file():
                quantise(source, str(path), _Again(shown), **options)
        onnx.save(_with_head(onnx.load(path), head), target)

    patch.setattr(quantization, "quantize_static", remembered)


def _with_head(graph: onnx.ModelProto, head: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Put the weights of a head into a graph, and return it."""
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    for name, values in head.items():
        assert tensors[name].dims == list(values.shape)
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(values, name))
    return graph


class _Again(CalibrationDataReader):  # type: ignore[misc]
    """Pictures that were read once already."""

    def __init__(self, inputs: Iterable[dict[str, np.ndarray]]) -> None:
        self._rest = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rest, None)
