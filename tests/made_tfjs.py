"""A tiny generated TensorFlow.js model with prototypes: mean colour, squared, normalised, compared."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 16
MIDDLE = np.eye(3, 4, dtype=np.float32)
"""Weights between the mean colour and the embedding of four numbers."""


def make_tfjs(folder: Path, prototypes: np.ndarray, *, matrix: np.ndarray = MIDDLE, side: int = SIDE) -> Path:
    """Write `model.json` and two shards; returns the path of the former."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        "axes": np.array([1, 2], dtype="<i4"),
        "matrix": matrix.astype("<f4"),
        "axis": np.array([1], dtype="<i4"),
        "least": np.array(1e-12, dtype="<f4"),
        "prototypes": prototypes.astype("<f4"),
        "order": np.array([1, 0], dtype="<i4"),
    }
    shape = {"shape": {"dim": [{"size": str(size)} for size in (-1, side, side, 3)]}}
    nodes = [
        node("out", "Transpose", "product", "order"),  # before its input: the file promises no order
        node("images", "Placeholder", dtype={"type": "DT_FLOAT"}, shape=shape),
        *(node(name, "Const") for name in weights),
        node("mean", "Mean", "images", "axes", keep_dims={"b": False}),
        node("embed", "MatMul", "mean", "matrix", transpose_a={"b": False}, transpose_b={"b": False}),
        node("square", "Square", "embed"),
        node("sum", "Sum", "square", "axis", keep_dims={"b": True}),
        node("positive", "Maximum", "sum", "least"),
        node("inverse", "Rsqrt", "positive"),
        node("unit", "Mul", "embed", "inverse"),
        node("product", "MatMul", "prototypes", "unit", transpose_a={"b": False}, transpose_b={"b": True}),
    ]
    content = b"".join(values.tobytes() for values in weights.values())
    shards = {"group1-shard1of2.bin": content[:64], "group1-shard2of2.bin": content[64:]}
    for name, part in shards.items():
        (folder / name).write_bytes(part)
    entries = [
        {"name": name, "shape": list(values.shape), "dtype": "int32" if values.dtype == "<i4" else "float32"}
        for name, values in weights.items()
    ]
    manifest = {
        "format": "graph-model",
        "signature": {"outputs": {"out:0": {"name": "out:0"}}},
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": list(shards), "weights": entries}],
    }
    path = folder / "model.json"
    path.write_text(json.dumps(manifest))
    return path


def node(name: str, op: str, *inputs: str, **attributes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def encoded(text: str) -> dict[str, str]:
    """A text as an attribute."""
    return {"s": base64.b64encode(text.encode()).decode()}
