"""The content of a TFLite file: tensors, operators and metadata.

The numbers of fields are those of TensorFlow's `schema.fbs`, and for the metadata those of `metadata_schema.fbs`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ModelError
from landmarks.model.importing.tfjs.graph import DAMAGE
from landmarks.model.importing.tflite.flatbuffer import Table

_IDENTIFIER = b"TFL3"
_DTYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 4: "<i8", 6: "?", 7: "<i2", 9: "i1"}
_NORMALIZATION = 1
"""Number of `NormalizationOptions` among the options of a processing unit."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """Real values are `(stored - zero_point) * scale`.

    Attributes:
        scales: One for the tensor, or one per entry of a dimension.
        zero_points: As many.
        dimension: The dimension, if there are several.
    """

    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    dimension: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor.

    Attributes:
        shape: Its shape; a batch of any size is stored as 1.
        dtype: dtype of NumPy; empty for types that are not supported.
        values: The stored values of a constant; None for computed tensors.
        quantization: How its values were quantised; None if they were not.
    """

    shape: tuple[int, ...]
    dtype: str
    values: NDArray[Any] | None
    quantization: Quantization | None


@dataclass(frozen=True)
class Operator:
    """One operation.

    Attributes:
        code: Its number among the built-in operators.
        custom: Its name if it is not built in, else empty.
        inputs: Numbers of tensors; -1 for an input that is left out.
        outputs: Numbers of tensors.
        options: Its options, or None.
    """

    code: int
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None


@dataclass(frozen=True, eq=False)
class TfliteModel:
    """A TFLite model.

    Attributes:
        tensors: All tensors, by number.
        operators: In the order of execution.
        inputs: Numbers of tensors.
        outputs: Numbers of tensors.
        normalization: Mean and deviation of pixels in 0..255, if the metadata state them; else None.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None


def read_tflite(path: Path) -> TfliteModel:
    """Read a TFLite file.

    Raises:
        ModelError: The file is not TFLite, is damaged, or has several graphs.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {(error.strerror or 'unreadable').lower()}: give a .tflite file") from error
    if content[4:8] != _IDENTIFIER:
        raise ModelError(f"{path}: not a TFLite file: give one that the TFLite converter wrote")
    try:
        return _model(path, Table.root(content))
    except (struct.error, MemoryError, *DAMAGE) as error:
        raise ModelError(f"{path}: the file is damaged ({error}): fetch it again") from error


def _model(path: Path, root: Table) -> TfliteModel:
    graphs = root.tables(2)
    if len(graphs) != 1:
        raise ModelError(
            f"{path}: it has {len(graphs)} graphs, and one is needed: convert the model to ONNX elsewhere"
        )
    (graph,) = graphs
    codes, buffers = root.tables(1), root.tables(4)
    tensors = tuple(_tensor(one, buffers) for one in graph.tables(0))
    operators = tuple(_operator(one, codes) for one in graph.tables(3))
    inputs, outputs = (tuple(map(int, graph.array(field, "<i4"))) for field in (1, 2))
    if any(not -1 <= number < len(tensors) for one in operators for number in (*one.inputs, *one.outputs)):
        raise ValueError("an operator refers to a missing tensor")
    if any(not 0 <= number < len(tensors) for number in (*inputs, *outputs)):
        raise ValueError("an input or output refers to a missing tensor")
    return TfliteModel(tensors, operators, inputs, outputs, _normalization(root, buffers))


def _tensor(table: Table, buffers: list[Table]) -> Tensor:
    shape = tuple(map(int, table.array(0, "<i4")))
    dtype = _DTYPES.get(table.scalar(1, "<b"), "")
    data = buffers[table.scalar(2, "<I")].array(0, "u1")
    values = np.frombuffer(data.tobytes(), dtype).reshape(shape) if len(data) and dtype else None
    held = table.table(4)
    scales = held.array(2, "<f4") if held is not None else np.empty(0, "<f4")
    quantization = None
    if held is not None and len(scales):
        points = held.array(3, "<i8")
        points = points if len(points) else np.zeros(len(scales), "<i8")
        quantization = Quantization(scales, points, held.scalar(6, "<i"))
    return Tensor(shape, dtype, values, quantization)


def _operator(table: Table, codes: list[Table]) -> Operator:
    kind = codes[table.scalar(0, "<I")]
    # Older files have the number in one byte, newer ones in four.
    code = max(kind.scalar(0, "<b"), kind.scalar(3, "<i"))
    inputs, outputs = (tuple(map(int, table.array(field, "<i4"))) for field in (1, 2))
    return Operator(code, kind.text(1), inputs, outputs, table.table(4))


def _normalization(root: Table, buffers: list[Table]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return how the metadata say that pixels are scaled."""
    named = {one.text(0): one.scalar(1, "<I") for one in root.tables(6)}
    if "TFLITE_METADATA" not in named:
        return None
    metadata = Table.root(buffers[named["TFLITE_METADATA"]].array(0, "u1").tobytes())
    for graph in metadata.tables(3)[:1]:
        for given in graph.tables(2)[:1]:
            for unit in given.tables(4):
                options = unit.table(1)
                if unit.scalar(0, "<B") == _NORMALIZATION and options is not None:
                    mean, std = (tuple(map(float, options.array(field, "<f4"))) for field in (0, 1))
                    return mean, std
    return None
