"""Reads TensorFlow.js graph models: `model.json` beside its weight shards.

The format is that of the TensorFlow.js converter: a TensorFlow graph as JSON, and a manifest that lists the
weights in their order in the shards, little-endian and contiguous
(https://www.tensorflow.org/js/guide/save_load).
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import ModelError

Tensor = NDArray[Any]

DAMAGE = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What reading a damaged description raises."""

_DTYPES = {"float32": "<f4", "int32": "<i4", "uint8": "u1", "uint16": "<u2", "float16": "<f2", "bool": "?"}


@dataclass(frozen=True)
class Node:
    """One operation of the graph.

    Attributes:
        name: Its name; other nodes refer to its first output by it.
        op: TensorFlow's name of the operation.
        inputs: Names of the tensors it takes, without `:0`.
        attributes: As plain Python values: numbers, strings, lists and dtype names.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph model.

    Attributes:
        nodes: The nodes, each after its inputs.
        weights: The constants, by the name of their node.
        inputs: Name of each input and its shape, with -1 for any size.
        outputs: Names of the output tensors.
    """

    nodes: tuple[Node, ...]
    weights: Mapping[str, Tensor]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]


def read_graph(path: Path) -> Graph:
    """Read a graph model.

    Args:
        path: Its `model.json`; the shards are beside it.

    Raises:
        ModelError: The file is not a graph model, or a shard is missing, short or too long.
    """
    values = read_manifest(path)
    try:
        return _graph(path, values)
    except DAMAGE as error:
        raise ModelError(f"{path}: the graph is damaged ({error}): fetch the model again") from error


def _graph(path: Path, values: Mapping[str, Any]) -> Graph:
    weights = _weights(path, values["weightsManifest"])
    nodes = _ordered([_node(node) for node in values["modelTopology"]["node"]])
    missing = [node.name for node in nodes if node.op == "Const" and node.name not in weights]
    if missing:
        raise ModelError(f"{path}: the manifest does not list the weight {missing[0]}: fetch the model again")
    inputs = {node.name: _shape(node) for node in nodes if node.op == "Placeholder"}
    return Graph(nodes, weights, inputs, _outputs(values, nodes))


def read_manifest(path: Path) -> dict[str, Any]:
    """Read `model.json` without the weights.

    Raises:
        ModelError: The file is unreadable or not a TensorFlow.js graph model.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a TensorFlow.js model ({error}): give its model.json") from error
    kind = values.get("format") if isinstance(values, dict) else None
    if kind == "layers-model":
        raise ModelError(
            f"{path}: a TensorFlow.js layers model, which has no graph: convert it to a graph model with "
            "tensorflowjs_converter first"
        )
    topology = values.get("modelTopology") if isinstance(values, dict) else None
    described = isinstance(topology, dict) and "node" in topology
    if kind != "graph-model" or "weightsManifest" not in values or not described:
        raise ModelError(f"{path}: not a TensorFlow.js graph model: give the model.json of one")
    return dict(values)


def _weights(path: Path, manifest: Any) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for group in manifest:
        content = b"".join(_shard(path.parent / Path(name).name) for name in group["paths"])
        weights |= _unpacked(path, group["weights"], content)
    return weights


def _shard(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: the shard is missing: fetch the model again") from error


def _unpacked(path: Path, entries: Iterable[Mapping[str, Any]], content: bytes) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    offset = 0
    for entry in entries:
        quantization = entry.get("quantization", {})
        stored = str(quantization.get("dtype", entry["dtype"]))
        if stored not in _DTYPES:
            raise ModelError(f"{path}: weights of type {stored} are not supported: convert the model as float32")
        shape = tuple(int(side) for side in entry["shape"])
        size = math.prod(shape) * np.dtype(_DTYPES[stored]).itemsize
        if offset + size > len(content):
            raise ModelError(f"{path}: the shards end before the weight {entry['name']}: fetch the model again")
        values: Tensor = np.frombuffer(content, _DTYPES[stored], math.prod(shape), offset).reshape(shape)
        if "scale" in quantization:
            scale, low = np.float32(quantization["scale"]), np.float32(quantization["min"])
            values = values.astype(np.float32) * scale + low
        elif quantization:
            values = values.astype(np.float32)
        weights[entry["name"]] = values
        offset += size
    if offset != len(content):
        raise ModelError(f"{path}: the shards have {len(content) - offset} bytes too many: fetch the model again")
    return weights


def _node(values: Mapping[str, Any]) -> Node:
    inputs = tuple(name.removesuffix(":0") for name in values.get("input", ()) if not name.startswith("^"))
    attributes = {name: _plain(value) for name, value in values.get("attr", {}).items()}
    return Node(values["name"], values["op"], inputs, attributes)


def _plain(value: Mapping[str, Any]) -> Any:
    """Convert an attribute from the protocol buffer's JSON form to a plain value."""
    kind: str
    content: Any
    (kind, content), *_ = value.items() if value else [("none", None)]
    match kind:
        case "i":
            return int(content)
        case "f":
            return float(content)
        case "s":
            return base64.b64decode(content).decode("utf-8")
        case "list":
            (inner, items), *_ = content.items() if content else [("none", [])]
            return [_plain({inner: item}) for item in items]
        case "shape":
            return tuple(int(side["size"]) for side in content.get("dim", ()))
        case _:
            return content


def _ordered(nodes: list[Node]) -> tuple[Node, ...]:
    """Sort nodes so that each comes after its inputs; the file guarantees no order."""
    by_name = {node.name: node for node in nodes}
    done: dict[str, Node] = {}
    most = len(nodes) + sum(len(node.inputs) for node in nodes)
    for first in nodes:
        waiting = [first]
        while waiting:
            node = waiting[-1]
            missing = [by_name[name] for name in node.inputs if name not in done]
            if missing and len(waiting) <= most:
                waiting.extend(missing)
            elif missing:
                raise ValueError(f"a loop through {node.name}")
            else:
                done[node.name] = waiting.pop()
    return tuple(done.values())


def _shape(node: Node) -> tuple[int, ...]:
    shape = node.attributes.get("shape")
    return shape if isinstance(shape, tuple) else ()


def _outputs(values: Mapping[str, Any], nodes: tuple[Node, ...]) -> tuple[str, ...]:
    signature = values.get("signature") or {}
    named = [str(output["name"]).removesuffix(":0") for output in signature.get("outputs", {}).values()]
    known = {node.name for node in nodes}
    if named and all(name in known for name in named):
        return tuple(named)
    used = {name for node in nodes for name in node.inputs}
    return tuple(node.name for node in nodes if node.name not in used and node.op != "Const")
