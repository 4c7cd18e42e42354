"""Writes the prototype head of a model folder (see `landmarks.model.heads`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from landmarks.model.folder import HEAD_FILE, PROTOTYPES_FILE, SCALES_FILE
from landmarks.model.heads import LARGEST_DIGIT, quantize
from landmarks.model.importing.tfjs.builder import IR_VERSION, OPSET


def write_head(
    folder: Path, prototypes: Sequence[NDArray[np.float32]], labels: Sequence[NDArray[np.int64]], classes: int
) -> None:
    """Write a prototype head.

    Args:
        folder: The model folder, which must exist.
        prototypes: Parts (R, D), each row a unit vector.
        labels: For each part, the name index of each row, (R,).
        classes: Number of names; each must have a prototype.
    """
    numbers = np.concatenate(labels)
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(classes)).astype(np.int64)
    parts = [quantize(part) for part in prototypes]
    rows = np.concatenate([rows for rows, _ in parts])[order]
    scales = np.concatenate([scales for _, scales in parts])[order]
    (folder / PROTOTYPES_FILE).write_bytes(np.ascontiguousarray(rows.T).tobytes())
    np.savez(folder / SCALES_FILE, scales=scales, starts=starts)
    onnx.save(_product(rows.shape[1], len(rows)), folder / HEAD_FILE)


def _product(width: int, count: int) -> onnx.ModelProto:
    stored = onnx.TensorProto(name="prototypes", data_type=TensorProto.INT8, dims=[width, count])
    stored.data_location = TensorProto.EXTERNAL
    for key, value in {"location": PROTOTYPES_FILE, "offset": "0", "length": str(width * count)}.items():
        stored.external_data.add(key=key, value=value)
    middle = numpy_helper.from_array(np.array(LARGEST_DIGIT + 1, dtype=np.uint8), "middle")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["digits", "prototypes", "middle"], ["products"])],
        "prototypes",
        [helper.make_tensor_value_info("digits", TensorProto.UINT8, ["rows", width])],
        [helper.make_tensor_value_info("products", TensorProto.INT32, ["rows", count])],
        [stored, middle],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
