"""Describes a TFLite model as a TensorFlow graph, which `landmarks.model.importing.tfjs` converts to ONNX.

Most operators of TFLite are TensorFlow's with a bias and an activation attached. Quantised weights become real
numbers. A computed tensor that was quantised is rounded to the same steps, so that the answers agree with LiteRT.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ModelError
from landmarks.model.importing.tfjs.graph import Graph, Node
from landmarks.model.importing.tflite.flatbuffer import Table
from landmarks.model.importing.tflite.model import Operator, Quantization, Tensor, TfliteModel

_ACTIVATIONS = {0: None, 1: "Relu", 3: "Relu6", 4: "Tanh"}
_PADDINGS = {0: "SAME", 1: "VALID"}
_INTEGERS = {"u1": (0, 255), "i1": (-128, 127)}
"""Smallest and largest stored value of a quantised tensor."""

_PLAIN = {
    6: "Identity",  # dequantise; what it means is done by `_rounded`
    8: "Floor",
    14: "Sigmoid",
    19: "Relu",
    21: "Relu6",
    28: "Tanh",
    47: "Exp",
    59: "Neg",
    73: "Log",
    75: "Sqrt",
    76: "Rsqrt",
    92: "Square",
    101: "Abs",
    114: "Identity",  # quantise
    117: "HardSwish",
}
_BINARY = {0: "AddV2", 18: "Mul", 41: "Sub", 42: "RealDiv", 55: "Maximum", 57: "Minimum", 78: "Pow"}
_WITH_ACTIVATION = {0, 18, 41, 42}
_REDUCTIONS = {40: "Mean", 74: "Sum", 82: "Max"}
_POOLS = {1: "AvgPool", 17: "MaxPool"}


class GraphMaker:
    """Collects the nodes of the TensorFlow graph.

    Args:
        path: The file, for messages.
        model: Its content.
    """

    def __init__(self, path: Path, model: TfliteModel) -> None:
        self._path = path
        self._model = model
        self._nodes: list[Node] = []
        self._weights: dict[str, NDArray[Any]] = {}

    def made(self) -> Graph:
        """Return the graph."""
        inputs: dict[str, tuple[int, ...]] = {}
        for number in self._model.inputs:
            name = self._name(number)
            self._nodes.append(Node(name, "Placeholder", (), {}))
            inputs[name] = (-1, *self._tensor(number).shape[1:])
        for number, tensor in enumerate(self._model.tensors):
            if tensor.values is not None:
                self.constant(self._name(number), real_values(tensor))
        for operator in self._model.operators:
            self._add(operator)
        outputs = tuple(self._name(number) for number in self._model.outputs)
        return Graph(tuple(self._nodes), self._weights, inputs, outputs)

    def _add(self, operator: Operator) -> None:
        output = operator.outputs[0]
        source = self._weights.get(self._name(operator.inputs[0])) if operator.inputs else None
        if operator.code == 6 and source is not None:  # converts stored values, such as weights in float16
            self.constant(self._name(output), source)
            return
        name = f"{self._name(output)}/exact"
        maker = _MAKERS.get(operator.code) if not operator.custom else None
        if maker is None or len(operator.outputs) != 1:
            what = operator.custom or f"number {operator.code}"
            raise ModelError(
                f"{self._path}: the TFLite operator {what} is not supported: convert the model to ONNX elsewhere"
            )
        maker(self, operator, name)
        self._rounded(name, output)

    def _rounded(self, name: str, output: int) -> None:
        """Round a computed tensor to the steps of its quantisation, and name it as the tensor."""
        tensor = self._tensor(output)
        attributes: dict[str, Any] = {}
        if tensor.quantization is not None:
            attributes = self._steps(tensor, tensor.quantization)
        self.node(self._name(output), "Rounded" if attributes else "Identity", [name], **attributes)

    def _steps(self, tensor: Tensor, quantization: Quantization) -> dict[str, Any]:
        if tensor.dtype not in _INTEGERS or len(quantization.scales) != 1:
            raise ModelError(
                f"{self._path}: values quantised as {tensor.dtype or 'an unknown type'} are not supported: "
                "convert the model to ONNX elsewhere"
            )
        point = int(quantization.zero_points[0])
        low, high = (end - point for end in _INTEGERS[tensor.dtype])
        return {"scale": float(quantization.scales[0]), "low": low, "high": high}

    def node(self, name: str, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node and return its name."""
        self._nodes.append(Node(name, op, tuple(inputs), attributes))
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        self._weights[name] = values
        return self.node(name, "Const", ())

    def weights(self, number: int) -> NDArray[Any]:
        """Return the values of a constant tensor."""
        name = self._name(number)
        if name not in self._weights:
            raise ModelError(
                f"{self._path}: the weights {name} are computed, not stored: convert the model to ONNX elsewhere"
            )
        return self._weights[name]

    def inputs(self, operator: Operator) -> list[str]:
        """Return the names of the inputs of an operator that are there."""
        return [self._name(number) for number in operator.inputs if number >= 0]

    def shape(self, number: int) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._tensor(number).shape

    def activated(self, name: str, source: str, activation: int) -> None:
        """Add the activation of an operator, and name the result."""
        if activation not in _ACTIVATIONS:
            raise ModelError(
                f"{self._path}: the TFLite activation number {activation} is not supported: convert the model to "
                "ONNX elsewhere"
            )
        self.node(name, _ACTIVATIONS[activation] or "Identity", [source])

    def _tensor(self, number: int) -> Tensor:
        return self._model.tensors[number]

    def _name(self, number: int) -> str:
        return f"tensor_{number}"


def real_values(tensor: Tensor) -> NDArray[Any]:
    """Return the values of a constant: quantised ones and float16 as float32, integers as they are.

    Raises:
        ValueError: The tensor is computed, or its quantisation is damaged.
    """
    values, quantization = tensor.values, tensor.quantization
    if values is None:
        raise ValueError("a computed tensor has no values")
    if quantization is None:
        return values.astype(np.float32) if tensor.dtype == "<f2" else values
    shape = [1] * values.ndim
    if len(quantization.scales) > 1:
        shape[quantization.dimension] = len(quantization.scales)
    scales, points = quantization.scales.reshape(shape or ()), quantization.zero_points.reshape(shape or ())
    real: NDArray[np.float32] = ((values.astype(np.int64) - points) * scales).astype(np.float32)
    return real


def input_range(tensor: Tensor) -> tuple[float, float] | None:
    """Return the real values of pixels 0 and 255 in a quantised input; None if it is not quantised."""
    if tensor.dtype not in _INTEGERS or tensor.quantization is None:
        return None
    scale, point = float(tensor.quantization.scales[0]), int(tensor.quantization.zero_points[0])
    low, high = _INTEGERS[tensor.dtype]
    return (low - point) * scale, (high - point) * scale


def _option(operator: Operator, field: int, kind: str = "<b", default: float = 0) -> Any:
    return default if operator.options is None else operator.options.scalar(field, kind, default)


def _listed(options: Table | None, field: int) -> list[int]:
    return [] if options is None else [int(one) for one in options.array(field, "<i4")]


def _plain(maker: GraphMaker, operator: Operator, name: str) -> None:
    maker.node(name, _PLAIN[operator.code], maker.inputs(operator)[:1])


def _binary(maker: GraphMaker, operator: Operator, name: str) -> None:
    source = maker.node(f"{name}/value", _BINARY[operator.code], maker.inputs(operator))
    maker.activated(name, source, _option(operator, 0) if operator.code in _WITH_ACTIVATION else 0)


def _conv(maker: GraphMaker, operator: Operator, name: str) -> None:
    kernel = maker.weights(operator.inputs[1]).transpose(1, 2, 3, 0)
    _convolution(maker, operator, name, kernel, "Conv2D", first=3)


def _depthwise(maker: GraphMaker, operator: Operator, name: str) -> None:
    weights, channels = maker.weights(operator.inputs[1]), maker.shape(operator.inputs[0])[3]
    kernel = weights.reshape(*weights.shape[1:3], channels, -1)
    _convolution(maker, operator, name, kernel, "DepthwiseConv2dNative", first=4)


def _convolution(
    maker: GraphMaker, operator: Operator, name: str, kernel: NDArray[Any], op: str, *, first: int
) -> None:
    """Add a convolution; `first` is the number of its first option after those that all have."""
    held = maker.constant(f"{name}/kernel", np.ascontiguousarray(kernel))
    wide, high = (_option(operator, first + number, "<i", 1) for number in (1, 2))
    source, *_ = maker.inputs(operator)
    found = maker.node(f"{name}/conv", op, [source, held], dilations=[1, high, wide, 1], **_window(operator))
    _finish(maker, operator, name, found, _option(operator, first))


def _finish(maker: GraphMaker, operator: Operator, name: str, found: str, activation: int) -> None:
    """Add the bias, if there is one, and the activation."""
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        found = maker.node(f"{name}/biased", "BiasAdd", [found, maker.inputs(operator)[2]])
    maker.activated(name, found, activation)


def _pool(maker: GraphMaker, operator: Operator, name: str) -> None:
    size = [1, _option(operator, 4, "<i"), _option(operator, 3, "<i"), 1]
    source = maker.inputs(operator)
    found = maker.node(f"{name}/pool", _POOLS[operator.code], source, ksize=size, **_window(operator))
    maker.activated(name, found, _option(operator, 5))


def _window(operator: Operator) -> dict[str, Any]:
    strides = [1, _option(operator, 2, "<i"), _option(operator, 1, "<i"), 1]
    return {"padding": _PADDINGS[_option(operator, 0)], "strides": strides}


def _dense(maker: GraphMaker, operator: Operator, name: str) -> None:
    weights = maker.weights(operator.inputs[1])
    matrix = maker.constant(f"{name}/matrix", np.ascontiguousarray(weights.T))
    shape = maker.constant(f"{name}/shape", np.array([-1, weights.shape[1]], dtype=np.int64))
    rows = maker.node(f"{name}/rows", "Reshape", [maker.inputs(operator)[0], shape])
    found = maker.node(f"{name}/product", "MatMul", [rows, matrix])
    _finish(maker, operator, name, found, _option(operator, 0))


def _reduction(maker: GraphMaker, operator: Operator, name: str) -> None:
    keep = bool(_option(operator, 0))
    maker.node(name, _REDUCTIONS[operator.code], maker.inputs(operator), keep_dims=keep)


def _reshape(maker: GraphMaker, operator: Operator, name: str) -> None:
    shape = list(maker.shape(operator.outputs[0]))
    if shape[:1] == [1]:
        shape[0] = 0  # the size of the batch, as in the input
    held = maker.constant(f"{name}/shape", np.array(shape, dtype=np.int64))
    maker.node(name, "Reshape", [maker.inputs(operator)[0], held])


def _squeeze(maker: GraphMaker, operator: Operator, name: str) -> None:
    axes = [axis for axis in _listed(operator.options, 0) if axis != 0]
    rank = len(maker.shape(operator.inputs[0]))
    if not axes:
        axes = [axis for axis, side in enumerate(maker.shape(operator.inputs[0])) if axis and side == 1]
    dims = [axis % rank for axis in axes]
    maker.node(name, "Squeeze", maker.inputs(operator), squeeze_dims=dims)


def _concat(maker: GraphMaker, operator: Operator, name: str) -> None:
    axis = _option(operator, 0, "<i")
    held = maker.constant(f"{name}/axis", np.array(axis, dtype=np.int64))
    found = maker.node(f"{name}/value", "ConcatV2", [*maker.inputs(operator), held])
    maker.activated(name, found, _option(operator, 1))


def _softmax(maker: GraphMaker, operator: Operator, name: str) -> None:
    source, beta = maker.inputs(operator)[0], _option(operator, 0, "<f", 1.0)
    if beta != 1:
        held = maker.constant(f"{name}/beta", np.array(beta, dtype=np.float32))
        source = maker.node(f"{name}/scaled", "Mul", [source, held])
    maker.node(name, "Softmax", [source])


def _unit_length(maker: GraphMaker, operator: Operator, name: str) -> None:
    (source,) = maker.inputs(operator)
    axis = maker.constant(f"{name}/axis", np.array([-1], dtype=np.int64))
    least = maker.constant(f"{name}/least", np.array(1e-12, dtype=np.float32))
    square = maker.node(f"{name}/square", "Square", [source])
    summed = maker.node(f"{name}/sum", "Sum", [square, axis], keep_dims=True)
    positive = maker.node(f"{name}/positive", "Maximum", [summed, least])
    inverse = maker.node(f"{name}/inverse", "Rsqrt", [positive])
    maker.node(name, "Mul", [source, inverse])


def _leaky(maker: GraphMaker, operator: Operator, name: str) -> None:
    maker.node(name, "LeakyRelu", maker.inputs(operator), alpha=_option(operator, 0, "<f"))


def _same(op: str) -> Callable[[GraphMaker, Operator, str], None]:
    """Return the maker of an operator that has the inputs of TensorFlow's and no options."""

    def make(maker: GraphMaker, operator: Operator, name: str) -> None:
        maker.node(name, op, maker.inputs(operator))

    return make


_MAKERS: dict[int, Callable[[GraphMaker, Operator, str], None]] = {
    **dict.fromkeys(_PLAIN, _plain),
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(_POOLS, _pool),
    2: _concat,
    3: _conv,
    4: _depthwise,
    9: _dense,
    11: _unit_length,
    22: _reshape,
    25: _softmax,
    34: _same("Pad"),
    39: _same("Transpose"),
    43: _squeeze,
    70: _same("ExpandDims"),
    98: _leaky,
}
"""Built-in operators, by their numbers in `schema.fbs`."""
