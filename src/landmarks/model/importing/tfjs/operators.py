"""TensorFlow's operations in ONNX: one function per kind of operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from landmarks.errors import ModelError
from landmarks.model.importing.tfjs.builder import Builder, Value
from landmarks.model.importing.tfjs.graph import Node

Operation = Callable[[Builder, Node, Sequence[Value]], Value]

_CAST = {
    "DT_FLOAT": TensorProto.FLOAT,
    "DT_BOOL": TensorProto.BOOL,
    # TensorFlow.js computes every integer type with 32 bits and truncates fractions.
    **dict.fromkeys(("DT_UINT8", "DT_INT8", "DT_INT32", "DT_INT64"), TensorProto.INT64),
}
_UNARY = {
    name: name
    for name in (
        *("Relu", "Elu", "Sigmoid", "Tanh", "Softplus", "HardSwish", "Identity"),
        *("Sqrt", "Exp", "Log", "Neg", "Abs", "Floor", "Reciprocal"),
    )
}
_BINARY = {
    "Add": "Add",
    "AddV2": "Add",
    "Sub": "Sub",
    "Mul": "Mul",
    "RealDiv": "Div",
    "Pow": "Pow",
    "Maximum": "Max",
    "Minimum": "Min",
}
_REDUCTIONS = {
    "Mean": "ReduceMean",
    "Sum": "ReduceSum",
    "Max": "ReduceMax",
    "Min": "ReduceMin",
    "Prod": "ReduceProd",
}


def convert_node(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    """Add one TensorFlow operation to an ONNX graph.

    Raises:
        ModelError: The operation, or the form of it, is not supported.
    """
    operation = _OPERATIONS.get(node.op)
    if operation is None:
        raise ModelError(
            f"the operation {node.op} ({node.name}) is not supported: convert the model to ONNX elsewhere"
        )
    try:
        return operation(builder, node, inputs)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ModelError(
            f"the node {node.name} ({node.op}) cannot be converted ({error}): convert the model to ONNX elsewhere"
        ) from error


def _unary(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    return builder.emit(_UNARY[node.op], [value], rank=value.rank, layout=value.layout)


def _binary(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    values, layout = builder.aligned(inputs)
    ranks = [value.rank for value in values]
    rank = None if None in ranks else max(rank for rank in ranks if rank is not None)
    return builder.emit(_BINARY[node.op], values, rank=rank, layout=layout)


def _bias_add(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    values, layout = builder.aligned(inputs)
    return builder.emit("Add", values, rank=inputs[0].rank, layout=layout)


def _relu6(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    low, high = (builder.constant(np.array(end, dtype=np.float32)) for end in (0, 6))
    return builder.emit("Clip", [value, low, high], rank=value.rank, layout=value.layout)


def _hard_sigmoid(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    return builder.emit("HardSigmoid", [value], rank=value.rank, layout=value.layout, alpha=1 / 6, beta=0.5)


def _rounded(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    """Round to the steps of a quantised tensor, and clip to their ends.

    In float32, because ONNX Runtime would quantise the weights around QuantizeLinear too, and on CPUs without VNNI
    its products of int8 overflow.
    """
    (value,) = inputs
    scale, low, high = (
        builder.constant(np.array(node.attributes[name], dtype=np.float32), name)
        for name in ("scale", "low", "high")
    )
    steps = builder.emit("Div", [value, scale], rank=value.rank, layout=value.layout)
    whole = builder.emit("Round", [steps], rank=value.rank, layout=value.layout)
    clipped = builder.emit("Clip", [whole, low, high], rank=value.rank, layout=value.layout)
    return builder.emit("Mul", [clipped, scale], rank=value.rank, layout=value.layout)


def _leaky_relu(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    alpha = float(node.attributes.get("alpha", 0.2))
    return builder.emit("LeakyRelu", [value], rank=value.rank, layout=value.layout, alpha=alpha)


def _square(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    return builder.emit("Mul", [value, value], rank=value.rank, layout=value.layout)


def _rsqrt(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    root = builder.emit("Sqrt", [value], rank=value.rank, layout=value.layout)
    return builder.emit("Reciprocal", [root], rank=value.rank, layout=value.layout)


def _cast(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    target = _CAST[node.attributes["DstT"]]
    return builder.emit("Cast", [value], rank=value.rank, layout=value.layout, to=target)


def _conv(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    weights = _known(inputs[1])
    kernel = weights.transpose(3, 2, 0, 1)
    return _convolution(builder, node, inputs, kernel, groups=1)


def _depthwise(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    weights = _known(inputs[1])
    height, width, channels, each = weights.shape
    kernel = weights.transpose(2, 3, 0, 1).reshape(channels * each, 1, height, width)
    return _convolution(builder, node, inputs, kernel, groups=channels)


def _convolution(
    builder: Builder, node: Node, inputs: Sequence[Value], kernel: np.ndarray[Any, Any], *, groups: int
) -> Value:
    values = [builder.channels_first(inputs[0]), builder.constant(np.ascontiguousarray(kernel), "kernel")]
    fused = list(node.attributes.get("fused_ops", ()))
    if "BiasAdd" in fused:
        values.append(inputs[2])
    found = builder.emit(
        "Conv",
        values,
        rank=4,
        layout="channels_first",
        group=groups,
        kernel_shape=list(kernel.shape[2:]),
        strides=_of_space(node, "strides"),
        dilations=_of_space(node, "dilations"),
        **_padding(node),
    )
    for name in fused:
        if name != "BiasAdd":
            found = convert_node(builder, Node(f"{node.name}/{name}", name, (), node.attributes), [found])
    return found


def _pool(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    op = {"AvgPool": "AveragePool", "MaxPool": "MaxPool"}[node.op]
    value = builder.channels_first(inputs[0])
    window = {"kernel_shape": _of_space(node, "ksize"), "strides": _of_space(node, "strides")}
    return builder.emit(op, [value], rank=4, layout="channels_first", **window, **_padding(node))


def _batch_norm(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    values = [builder.channels_first(inputs[0]), *inputs[1:5]]
    epsilon = float(node.attributes.get("epsilon", 1e-3))
    return builder.emit("BatchNormalization", values, rank=4, layout="channels_first", epsilon=epsilon)


def _reduction(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    value, axes = inputs[0], [int(axis) for axis in _known(inputs[1]).ravel()]
    keep = bool(node.attributes.get("keep_dims", False))
    if value.layout == "channels_first" and keep:
        axes = [(0, 2, 3, 1)[axis] for axis in axes]
    else:
        value = builder.plain(value)
    rank = value.rank if keep or value.rank is None else value.rank - len(axes)
    listed = builder.constant(np.array(axes, dtype=np.int64), "axes")
    return builder.emit(_REDUCTIONS[node.op], [value, listed], rank=rank, layout=value.layout, keepdims=int(keep))


def _mat_mul(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    left, right = (
        _transposed(builder, builder.plain(value), bool(node.attributes.get(flag, False)))
        for value, flag in zip(inputs, ("transpose_a", "transpose_b"), strict=False)
    )
    found = builder.emit("MatMul", [left, right], rank=2)
    for name in node.attributes.get("fused_ops", ()):
        operands = [found, inputs[2]] if name == "BiasAdd" else [found]
        found = convert_node(builder, Node(f"{node.name}/{name}", name, (), node.attributes), operands)
    return found


def _transposed(builder: Builder, value: Value, wanted: bool) -> Value:
    if not wanted:
        return value
    if value.constant is not None:
        return builder.constant(np.ascontiguousarray(value.constant.T), "weights")
    return builder.emit("Transpose", [value], rank=2, perm=[1, 0])


def _transpose(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    order = [int(axis) for axis in _known(inputs[1])]
    return builder.emit("Transpose", [builder.plain(inputs[0])], rank=len(order), perm=order)


def _shape(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    return builder.emit("Shape", [builder.plain(inputs[0])], rank=1)


def _gather(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    axis = int(_known(inputs[2])) if len(inputs) > 2 else 0
    source, indices = builder.plain(inputs[0]), builder.plain(inputs[1])
    rank = None if source.rank is None or indices.rank is None else source.rank + indices.rank - 1
    return builder.emit("Gather", [source, indices], rank=rank, axis=axis)


def _concat(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    *parts, axis = inputs
    values, layout = builder.aligned(parts)
    place = int(_known(axis))
    if layout == "channels_first":
        place = (0, 2, 3, 1)[place]
    return builder.emit("Concat", values, rank=values[0].rank, layout=layout, axis=place)


def _pack(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    axis = int(node.attributes.get("axis", 0))
    listed = builder.constant(np.array([axis], dtype=np.int64), "axes")
    rank = None if inputs[0].rank is None else inputs[0].rank + 1
    parts = [builder.emit("Unsqueeze", [builder.plain(value), listed], rank=rank) for value in inputs]
    return builder.emit("Concat", parts, rank=rank, axis=axis)


def _reshape(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    shape = inputs[1]
    rank = len(shape.constant) if shape.constant is not None else None
    return builder.emit("Reshape", [builder.plain(inputs[0]), shape], rank=rank)


def _squeeze(builder: Builder, node: Node, inputs: Sequence[Value]) -> Value:
    value = builder.plain(inputs[0])
    axes = [int(axis) for axis in node.attributes.get("squeeze_dims") or node.attributes.get("axis") or ()]
    rank = None if value.rank is None or not axes else value.rank - len(axes)
    listed = [builder.constant(np.array(axes, dtype=np.int64), "axes")] if axes else []
    return builder.emit("Squeeze", [value, *listed], rank=rank)


def _expand(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    value = builder.plain(inputs[0])
    listed = builder.constant(_known(inputs[1]).reshape(1), "axes")
    return builder.emit("Unsqueeze", [value, listed], rank=None if value.rank is None else value.rank + 1)


def _softmax(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    value = builder.plain(inputs[0])
    return builder.emit("Softmax", [value], rank=value.rank, axis=-1)


def _pad(builder: Builder, _node: Node, inputs: Sequence[Value]) -> Value:
    value, amounts = inputs[0], _known(inputs[1])
    if value.layout == "channels_first":
        amounts = amounts[[0, 3, 1, 2]]
    listed = builder.constant(amounts.T.reshape(-1).astype(np.int64), "pads")
    return builder.emit("Pad", [value, listed], rank=value.rank, layout=value.layout)


def _known(value: Value) -> np.ndarray[Any, Any]:
    if value.constant is None:
        raise ValueError("weights or sizes are computed, not stored")
    return value.constant


def _of_space(node: Node, name: str) -> list[int]:
    """Return the height and width entries of an attribute that lists all four dimensions."""
    listed = node.attributes.get(name) or [1, 1, 1, 1]
    return [int(listed[1]), int(listed[2])]


def _padding(node: Node) -> Mapping[str, Any]:
    if node.attributes.get("data_format", "NHWC") != "NHWC":
        raise ValueError("only the layout NHWC is supported")
    match node.attributes.get("padding"):
        case "SAME":
            return {"auto_pad": "SAME_UPPER"}
        case "EXPLICIT":
            edges = node.attributes["explicit_paddings"]
            return {"pads": [edges[2], edges[4], edges[3], edges[5]]}
        case _:
            return {"auto_pad": "VALID"}


_OPERATIONS: Mapping[str, Operation] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(("Conv2D", "_FusedConv2D"), _conv),
    **dict.fromkeys(("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative"), _depthwise),
    **dict.fromkeys(("AvgPool", "MaxPool"), _pool),
    **dict.fromkeys(("MatMul", "_FusedMatMul"), _mat_mul),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _batch_norm),
    **dict.fromkeys(("Gather", "GatherV2"), _gather),
    **dict.fromkeys(("Pad", "PadV2"), _pad),
    "BiasAdd": _bias_add,
    "Relu6": _relu6,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky_relu,
    "Rounded": _rounded,
    "Square": _square,
    "Rsqrt": _rsqrt,
    "Cast": _cast,
    "Transpose": _transpose,
    "Shape": _shape,
    "ConcatV2": _concat,
    "Pack": _pack,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "ExpandDims": _expand,
    "Softmax": _softmax,
}
