"""Builds an ONNX graph from TensorFlow tensors, whose layout is (N, H, W, C).

ONNX convolutions take (N, C, H, W). Each value therefore records its layout, and is transposed only if an
operation needs the other one: a whole network of convolutions and element-wise operations has one transpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Layout = Literal["plain", "channels_first"]

OPSET = 18
IR_VERSION = 10


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph being built.

    Attributes:
        name: Name in the ONNX graph.
        rank: Number of dimensions, as in TensorFlow; None if unknown.
        layout: `channels_first` if an (N, H, W, C) tensor is stored as (N, C, H, W).
        constant: The values if they are known, in TensorFlow's order.
    """

    name: str
    rank: int | None
    layout: Layout = "plain"
    constant: NDArray[Any] | None = None


class Builder:
    """Collects the nodes and weights of one ONNX graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, NDArray[Any]] = {}
        self._counts: dict[str, int] = {}

    def constant(self, values: NDArray[Any], name: str = "constant") -> Value:
        """Return a constant for use in operations; int32 becomes int64, as ONNX requires for shapes and axes."""
        held = values.astype(np.int64) if values.dtype == np.int32 else values
        return Value(self._unused(name), held.ndim, constant=held)

    def emit(
        self, op: str, inputs: Sequence[Value], *, rank: int | None, layout: Layout = "plain", **attributes: Any
    ) -> Value:
        """Add one node and return its output."""
        names = [self._held(value) for value in inputs]
        output = self._unused(op.lower())
        self.nodes.append(helper.make_node(op, names, [output], **attributes))
        return Value(output, rank, layout)

    def plain(self, value: Value) -> Value:
        """Return a value in TensorFlow's order."""
        if value.layout == "plain":
            return value
        return self.emit("Transpose", [value], rank=4, perm=[0, 2, 3, 1])

    def channels_first(self, value: Value) -> Value:
        """Return a four-dimensional value as (N, C, H, W)."""
        if value.layout == "channels_first":
            return value
        if value.constant is not None:
            return self.constant(np.ascontiguousarray(value.constant.transpose(0, 3, 1, 2)))
        return self.emit("Transpose", [value], rank=4, layout="channels_first", perm=[0, 3, 1, 2])

    def aligned(self, values: Sequence[Value]) -> tuple[list[Value], Layout]:
        """Return the operands of an element-wise operation in one layout.

        All become (N, C, H, W) if one of them is and the others can be; else all are plain.
        """
        first = any(value.layout == "channels_first" for value in values)
        if not first or not all(_can_follow(value) for value in values):
            return [self.plain(value) for value in values], "plain"
        return [self._followed(value) for value in values], "channels_first"

    def model(
        self, *, size: int, entry: tuple[str, int], outputs: Mapping[str, tuple[Value, Sequence[int | str]]]
    ) -> onnx.ModelProto:
        """Return the model: images (N, size, size, 3) of the given name and type in, named float outputs out."""
        name_in, kind_in = entry
        infos = []
        for name, (value, shape) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [self._held(self.plain(value))], [name]))
            infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        used = {name for node in self.nodes for name in node.input}
        graph = helper.make_graph(
            self.nodes,
            "imported",
            [helper.make_tensor_value_info(name_in, kind_in, ["batch", size, size, 3])],
            infos,
            [numpy_helper.from_array(values, name) for name, values in self._weights.items() if name in used],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model

    def _followed(self, value: Value) -> Value:
        if value.rank == 4:
            return self.channels_first(value)
        if value.rank == 1 and value.constant is not None:
            return self.constant(value.constant.reshape(-1, 1, 1))
        return value

    def _held(self, value: Value) -> str:
        if value.constant is not None:
            self._weights[value.name] = value.constant
        return value.name

    def _unused(self, name: str) -> str:
        self._counts[name] = self._counts.get(name, 0) + 1
        return f"{name}_{self._counts[name]}"


def _can_follow(value: Value) -> bool:
    return value.rank in {0, 4} or (value.rank == 1 and value.constant is not None)
