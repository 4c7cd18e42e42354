"""A tiny TFLite model: convolution, depthwise convolution, mean, dense layer, softmax; float32 or quantized."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

SIDE = 16
CLASSES = 3
TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int8": 9}
FORMATS = {"b": "Int8", "B": "Uint8", "i": "Int32", "I": "Uint32", "f": "Float32"}

Options = Mapping[int, tuple[str, float]]
"""Field -> format and value."""


@dataclass
class Made:
    """Tensors and operators, in the order in which they were added.

    Attributes:
        tensors: Shape, dtype, constant values or None, and quantization (scale, zero point) or None.
        operators: Code, inputs, outputs, number of the options' type, options, custom name.
    """

    tensors: list[tuple[tuple[int, ...], str, np.ndarray | None, tuple[Any, int] | None]] = field(
        default_factory=list
    )
    operators: list[tuple[int, Sequence[int], Sequence[int], int, Options, str]] = field(default_factory=list)

    def computed(self, *shape: int, dtype: str = "float32", quantization: tuple[Any, int] | None = None) -> int:
        self.tensors.append((shape, dtype, None, quantization))
        return len(self.tensors) - 1

    def constant(self, values: np.ndarray, quantization: tuple[Any, int] | None = None) -> int:
        self.tensors.append((values.shape, str(values.dtype), values, quantization))
        return len(self.tensors) - 1

    def operator(
        self,
        code: int,
        inputs: Sequence[int],
        output: int,
        kind: int = 0,
        options: Options | None = None,
        custom: str = "",
    ) -> int:
        self.operators.append((code, inputs, [output], kind, options or {}, custom))
        return output


def network(*, quantized: bool = False, half: bool = False) -> Made:
    """Return the network; quantized to int8 with real weights rounded, or with weights in float16."""
    rng = np.random.default_rng(0)
    made = Made()

    def computed(*shape: int, scale: float) -> int:
        if quantized:
            return made.computed(*shape, dtype="int8", quantization=(scale, -128))
        return made.computed(*shape)

    def weights(*shape: int) -> int:
        values = rng.normal(0, 0.3, shape).astype(np.float32)
        if quantized:
            return made.constant(np.round(values * 100).clip(-127, 127).astype(np.int8), (0.01, 0))
        if not half:
            return made.constant(values)
        return made.operator(6, [made.constant(values.astype(np.float16))], made.computed(*shape))

    def bias(count: int, scale: float) -> int:
        values = rng.normal(0, 0.3, count)
        if quantized:
            return made.constant(np.round(values / scale).astype(np.int32), (scale, 0))
        return made.constant(values.astype(np.float32))

    half_side = SIDE // 2
    image = computed(1, SIDE, SIDE, 3, scale=1 / 255)
    first = computed(1, half_side, half_side, 4, scale=0.02)
    window = {0: ("b", 0), 1: ("i", 2), 2: ("i", 2), 3: ("b", 3)}  # same padding, stride 2, relu6
    made.operator(3, [image, weights(4, 3, 3, 3), bias(4, 0.01 / 255)], first, 1, window)
    second = computed(1, half_side, half_side, 4, scale=0.02)
    deep = {0: ("b", 0), 1: ("i", 1), 2: ("i", 1), 3: ("i", 1), 4: ("b", 1)}  # multiplier 1, relu
    made.operator(4, [first, weights(1, 3, 3, 4), bias(4, 0.0002)], second, 2, deep)
    added = made.operator(0, [first, second], computed(1, half_side, half_side, 4, scale=0.04), 11)
    axes = made.constant(np.array([1, 2], dtype=np.int32))
    mean = made.operator(40, [added, axes], computed(1, 4, scale=0.04), 27, {0: ("b", 0)})
    dense = computed(1, CLASSES, scale=0.05)
    made.operator(9, [mean, weights(CLASSES, 4), bias(CLASSES, 0.0004)], dense, 8)
    made.operator(25, [dense], computed(1, CLASSES, scale=1 / 256), 9, {0: ("f", 1.0)})
    return made


def save_tflite(
    path: Path,
    made: Made,
    *,
    inputs: Sequence[int] = (0,),
    normalization: tuple[float, float] | None = None,
    labels: str = "",
) -> Path:
    """Write a file, with a normalization in its metadata and embedded labels if they are given."""
    builder = flatbuffers.Builder(1 << 16)
    contents = [b""] + [b"" if values is None else values.tobytes() for _, _, values, _ in made.tensors]
    metadata = []
    if normalization is not None:
        name = builder.CreateString("TFLITE_METADATA")
        metadata = [table(builder, {0: name, 1: ("I", len(contents))})]
        contents.append(_metadata(*normalization))
    buffers = []
    for content in contents:
        data = builder.CreateByteVector(content) if content else 0
        buffers.append(table(builder, {0: data} if data else {}))
    tensors = [_tensor(builder, number, *one) for number, one in enumerate(made.tensors)]
    kinds = list(dict.fromkeys((code, custom) for code, _, _, _, _, custom in made.operators))
    codes = []
    for code, custom in kinds:
        name = {1: builder.CreateString(custom)} if custom else {}
        codes.append(table(builder, {0: ("b", min(code, 127)), 3: ("i", code), 2: ("i", 1), **name}))
    operators = []
    for code, taken, given, kind, options, custom in made.operators:
        fields: dict[int, Any] = {0: ("I", kinds.index((code, custom)))}
        fields |= {1: _numbers(builder, taken, "i"), 2: _numbers(builder, given, "i")}
        if kind:
            fields |= {3: ("B", kind), 4: table(builder, dict(options))}
        operators.append(table(builder, fields))
    outputs = made.operators[-1][2] if made.operators else [0]
    graph = table(
        builder,
        {
            0: _tables(builder, tensors),
            1: _numbers(builder, inputs, "i"),
            2: _numbers(builder, outputs, "i"),
            3: _tables(builder, operators),
        },
    )
    lists = {1: codes, 2: [graph], 4: buffers, **({6: metadata} if metadata else {})}
    root = table(builder, {0: ("I", 3), **{key: _tables(builder, one) for key, one in lists.items()}})
    builder.Finish(root, b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    if labels:
        stored = io.BytesIO(path.read_bytes())
        with zipfile.ZipFile(stored, "a") as archive:
            archive.writestr("labels.txt", labels)
        path.write_bytes(stored.getvalue())
    return path


def table(builder: flatbuffers.Builder, fields: Mapping[int, Any]) -> int:
    """Write a table: a field is an offset, or a format and a value."""
    builder.StartObject(max(fields, default=0) + 1)
    for number, value in fields.items():
        if isinstance(value, tuple):
            kind, content = value
            getattr(builder, f"Prepend{FORMATS[kind]}")(content)
            builder.Slot(number)
        else:
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return builder.EndObject()


def _tensor(
    builder: flatbuffers.Builder,
    number: int,
    shape: Sequence[int],
    dtype: str,
    values: np.ndarray | None,
    quantization: tuple[Any, int] | None,
) -> int:
    held = {}
    if quantization is not None:
        scale, zero = quantization
        scales = builder.CreateNumpyVector(np.atleast_1d(np.asarray(scale, dtype=np.float32)))
        points = builder.CreateNumpyVector(np.full(np.size(scale), zero, dtype=np.int64))
        held = {4: table(builder, {2: scales, 3: points})}
    listed, name = _numbers(builder, shape, "i"), builder.CreateString(f"made_{number}")
    buffer = ("I", number + 1 if values is not None else 0)
    return table(builder, {0: listed, 1: ("b", TYPES[dtype]), 2: buffer, 3: name, **held})


def _metadata(mean: float, std: float) -> bytes:
    builder = flatbuffers.Builder(256)
    values = [builder.CreateNumpyVector(np.array([value], dtype=np.float32)) for value in (mean, std)]
    options = table(builder, dict(enumerate(values)))
    unit = table(builder, {0: ("B", 1), 1: options})
    given = table(builder, {4: _tables(builder, [unit])})
    graph = table(builder, {2: _tables(builder, [given])})
    builder.Finish(table(builder, {3: _tables(builder, [graph])}), b"M001")
    return bytes(builder.Output())


def _numbers(builder: flatbuffers.Builder, values: Sequence[int], kind: str) -> int:
    return int(builder.CreateNumpyVector(np.array(values, dtype=kind)))


def _tables(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
