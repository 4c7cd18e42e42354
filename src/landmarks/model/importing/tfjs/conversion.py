"""Converts a TensorFlow.js graph to an ONNX graph, without TensorFlow.

Two rewrites make it fast in ONNX Runtime. `x * relu6(x + 3) / 6`, the hard swish of MobileNetV3, becomes a single
operation, and so does the hard sigmoid of squeeze-and-excitation. A scale and an offset after a matrix product,
the remains of a batch norm, are folded into its weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx

from landmarks.errors import ModelError
from landmarks.model.importing.tfjs.builder import Builder, Value
from landmarks.model.importing.tfjs.graph import Graph, Node, Tensor
from landmarks.model.importing.tfjs.operators import convert_node

INPUT = "pictures"


@dataclass(frozen=True)
class PrototypeHead:
    """The end of a graph that compares an embedding with prototypes.

    Attributes:
        embedding: Name of the tensor (N, D).
        prototypes: Name of the weight (K, D).
    """

    embedding: str
    prototypes: str


def find_head(graph: Graph) -> PrototypeHead | None:
    """Return the matrix product with prototypes that produces the output of a graph, or None."""
    by_name = {node.name: node for node in graph.nodes}
    node = by_name[graph.outputs[0]]
    while node.op in {"Transpose", "Identity"}:
        node = by_name[node.inputs[0]]
    if node.op != "MatMul" or len(graph.outputs) != 1:
        return None
    for weights, other in (node.inputs, node.inputs[::-1]):
        flag = "transpose_b" if weights == node.inputs[1] else "transpose_a"
        held = graph.weights.get(weights)
        rows_are_prototypes = bool(node.attributes.get(flag, False)) == (flag == "transpose_b")
        if held is not None and held.ndim == 2 and rows_are_prototypes and other not in graph.weights:
            return PrototypeHead(other, weights)
    return None


def convert(
    graph: Graph, outputs: Mapping[str, str], *, value_range: tuple[float, float] | None
) -> onnx.ModelProto:
    """Convert a graph to ONNX.

    Args:
        graph: Graph with one input (N, side, side, 3), and only operations that ONNX has.
        outputs: Name of each output of the new graph -> two-dimensional tensor of the old one.
        value_range: Values that 0 and 255 are mapped to before they enter the old graph, such as (0, 1); None if
            the new graph takes the same input as the old one.

    Returns:
        A model that takes uint8 images (N, side, side, 3), or float32 ones without a value range.

    Raises:
        ModelError: The graph has other inputs, or an operation that is not supported.
    """
    name, side = _picture_input(graph)
    graph = simplified(graph)
    builder = Builder()
    values = {name: _entry(builder, value_range)}
    needed = _ancestors(graph, outputs.values())
    for node in graph.nodes:
        if node.name not in needed or node.op == "Placeholder":
            continue
        if node.op == "Const":
            values[node.name] = builder.constant(graph.weights[node.name], "weight")
        else:
            values[node.name] = convert_node(builder, node, [values[source] for source in node.inputs])
    shapes = {key: (values[tensor], ["batch", f"{key}_size"]) for key, tensor in outputs.items()}
    kind = onnx.TensorProto.FLOAT if value_range is None else onnx.TensorProto.UINT8
    return builder.model(size=side, entry=(INPUT, kind), outputs=shapes)


def simplified(graph: Graph) -> Graph:
    """Return an equivalent graph with hard swish, hard sigmoid and scales of products simplified."""
    weights = dict(graph.weights)
    users = Counter(name for node in graph.nodes for name in node.inputs)
    nodes = {node.name: node for node in graph.nodes}
    for node in graph.nodes:
        if node.op == "Mul":
            nodes[node.name] = _hard(node, nodes, weights) or _absorbed(node, nodes, weights, users) or node
    return replace(graph, nodes=tuple(nodes.values()), weights=weights)


def _hard(node: Node, nodes: Mapping[str, Node], weights: Mapping[str, Tensor]) -> Node | None:
    """Return `(c x) relu6(x + 3)` or `c relu6(x + 3)`, with c = 1/6, as one operation; None for other nodes."""
    for factor, gate in (node.inputs, node.inputs[::-1]):
        source = _gated(nodes[gate], nodes, weights)
        if source is None:
            continue
        if _is_sixth(weights.get(factor)):
            return Node(node.name, "HardSigmoid", (source,), {})
        scaled = nodes[factor]
        if scaled.op == "Mul" and source in scaled.inputs:
            (other,) = [name for name in scaled.inputs if name != source] or [source]
            if _is_sixth(weights.get(other)):
                return Node(node.name, "HardSwish", (source,), {})
    return None


def _gated(node: Node, nodes: Mapping[str, Node], weights: Mapping[str, Tensor]) -> str | None:
    """Return x if a node is `relu6(x + 3)`, else None."""
    added = nodes[node.inputs[0]] if node.op == "Relu6" else None
    if added is None or added.op not in {"Add", "AddV2"}:
        return None
    for source, offset in (added.inputs, added.inputs[::-1]):
        held = weights.get(offset)
        if held is not None and held.size == 1 and float(held) == 3:
            return source
    return None


def _is_sixth(held: Tensor | None) -> bool:
    return held is not None and held.size == 1 and math.isclose(float(held), 1 / 6, rel_tol=1e-6)


def _absorbed(
    node: Node, nodes: Mapping[str, Node], weights: dict[str, Tensor], users: Mapping[str, int]
) -> Node | None:
    """Fold a scale per column after a matrix product into its weights."""
    for product, scale in (node.inputs, node.inputs[::-1]):
        held, source = weights.get(scale), nodes[product]
        while source.op == "Reshape" and users[source.name] == 1:
            source = nodes[source.inputs[0]]
        if held is None or held.ndim != 1 or source.op != "MatMul" or users[source.name] != 1:
            continue
        matrix = weights.get(source.inputs[1])
        plain = not source.attributes.get("transpose_b", False)
        if matrix is not None and plain and matrix.shape[1:] == held.shape and users[source.inputs[1]] == 1:
            weights[source.inputs[1]] = matrix * held
            return Node(node.name, "Identity", (product,), {})
    return None


def _picture_input(graph: Graph) -> tuple[str, int]:
    if len(graph.inputs) != 1:
        names = ", ".join(sorted(graph.inputs)) or "none"
        raise ModelError(f"the model must have one input, a picture, not {len(graph.inputs)} ({names})")
    ((name, shape),) = graph.inputs.items()
    if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2] or shape[1] < 1:
        listed = " x ".join(map(str, shape)) or "of unknown shape"
        raise ModelError(
            f"the input {name} is {listed}: a model of square RGB pictures (N, side, side, 3) is needed"
        )
    return name, shape[1]


def _entry(builder: Builder, value_range: tuple[float, float] | None) -> Value:
    """Convert images to the input of the old graph."""
    pictures = builder.channels_first(Value(INPUT, 4))
    if value_range is None:
        return pictures
    low, high = value_range
    floats = builder.emit("Cast", [pictures], rank=4, layout="channels_first", to=onnx.TensorProto.FLOAT)
    # One division, as in NumPy and TensorFlow.js: multiplying by 1/255 differs in the last bit.
    scale = builder.constant(np.array(255 / (high - low), dtype=np.float32))
    scaled = builder.emit("Div", [floats, scale], rank=4, layout="channels_first")
    if not low:
        return scaled
    offset = builder.constant(np.array(low, dtype=np.float32))
    return builder.emit("Add", [scaled, offset], rank=4, layout="channels_first")


def _ancestors(graph: Graph, tensors: Iterable[str]) -> set[str]:
    by_name = {node.name: node for node in graph.nodes}
    found: set[str] = set()
    waiting = list(tensors)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(by_name[name].inputs)
    return found
