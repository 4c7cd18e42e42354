"""Turns a foreign ONNX file into the `model.onnx` of a model folder.

The network is wrapped in the interface of a model folder: uint8 images (N, side, side, 3) in, `logits` (N, K) and
`embedding` (N, D) out. Probabilities become logits by their logarithm. The embedding is the input of the last
matrix product, or the logits if there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from landmarks.errors import ModelError
from landmarks.model.importing.preprocessing import Layout, Wanted

Scores = Literal["logits", "probabilities", "sigmoid", "cosines"]

_OPSET = 18
_IR_VERSION = 10
_INPUT = "pictures"
_PREFIX = "source/"


@dataclass(frozen=True)
class Picture:
    """The input of a foreign network.

    Attributes:
        name: Name in its graph.
        side: Side of the square, in pixels.
        layout: Order of its dimensions.
        dtype: Element type, from `onnx.TensorProto`.
    """

    name: str
    side: int
    layout: Layout
    dtype: int


def read_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with its external data.

    Raises:
        ModelError: It is not an ONNX file, lacks its external data, or has operations that ONNX does not define.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: a file with its weights is missing beside it ({error})") from error
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: not an ONNX model that can be used ({reason}): export it again") from error
    domains = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if domains:
        raise ModelError(
            f"{path}: it has operations of {', '.join(sorted(domains))}, which ONNX does not define: export it "
            "without them"
        )
    return model


def picture_input(path: Path, model: onnx.ModelProto, layout: Layout | None) -> Picture:
    """Return the single input of a network, which must take square RGB images.

    Raises:
        ModelError: It has no input or several, or one that is not an image.
    """
    stored = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(item.name for item in inputs) or "none"
        raise ModelError(f"{path}: the network must have one input, a picture, not {len(inputs)} ({names})")
    item = inputs[0]
    kind = item.type.tensor_type
    shape = [side.dim_value if side.HasField("dim_value") else 0 for side in kind.shape.dim]
    found: Layout | None = None
    if len(shape) == 4:
        found = "NCHW" if shape[1] == 3 else "NHWC" if shape[3] == 3 else None
    if found is None or (layout is not None and layout != found):
        listed = " x ".join(str(side or "?") for side in shape) or "of unknown shape"
        raise ModelError(
            f"{path}: the input {item.name} is {listed}, not pictures of three channels: export it again"
        )
    height, width = shape[2:] if found == "NCHW" else shape[1:3]
    if height != width or not height:
        raise ModelError(f"{path}: the input {item.name} must be a square of known size, not {height} x {width}")
    if shape[0] > 1:
        raise ModelError(
            f"{path}: it takes batches of {shape[0]} only: export it with a batch of any size or of one"
        )
    if kind.elem_type not in {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8}:
        raise ModelError(f"{path}: the input {item.name} must be float32, float16 or uint8: export it again")
    return Picture(item.name, height, found, kind.elem_type)


def adapted(
    path: Path, model: onnx.ModelProto, picture: Picture, wanted: Wanted, *, classes: int, scores: Scores
) -> onnx.ModelProto:
    """Wrap a network in the interface of a model folder.

    Args:
        path: Path of the model, for messages.
        model: The network.
        picture: Its input.
        wanted: How images are scaled for it.
        classes: Number of labels.
        scores: Meaning of its output.

    Raises:
        ModelError: No output has one value per label, or the network cannot be converted to the opset in use.
    """
    version = next((item.version for item in model.opset_import if item.domain in {"", "ai.onnx"}), 0)
    if version != _OPSET:
        try:
            model = version_converter.convert_version(model, _OPSET)
        except Exception as error:
            raise ModelError(f"{path}: opset {version} cannot be read: export it with opset {_OPSET}") from error
    # Its own names could clash with those of the model folder, such as `pictures`.
    output = _PREFIX + _class_output(path, model, picture, classes)
    graph = compose.add_prefix(model, _PREFIX).graph
    picture = replace(picture, name=_PREFIX + picture.name)
    before, weights = _before(picture, wanted)
    after = _after(output, scores, graph)
    new = helper.make_graph(
        [*before, *graph.node, *after],
        "imported",
        [helper.make_tensor_value_info(_INPUT, TensorProto.UINT8, ["batch", picture.side, picture.side, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", "size"]),
        ],
        [*graph.initializer, *weights],
    )
    made = helper.make_model(new, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    _check_runs(path, made, picture.side, classes)
    return made


def _class_output(path: Path, model: onnx.ModelProto, picture: Picture, classes: int) -> str:
    """Return the output with one value per label, running the network once if its shapes are not known."""
    widths: dict[str, int] = {}
    for item in model.graph.output:
        shape = item.type.tensor_type.shape.dim
        widths[item.name] = shape[-1].dim_value if len(shape) else 0
    if 0 in widths.values():
        widths = {name: values.shape[-1] for name, values in _run(path, model, picture).items() if values.ndim}
    fitting = [name for name, width in widths.items() if width == classes]
    if len(fitting) != 1:
        listed = ", ".join(f"{name} with {width} values" for name, width in widths.items())
        raise ModelError(
            f"{path}: {classes} labels fit {len(fitting)} of its outputs ({listed}): give the right labels"
        )
    return fitting[0]


def _run(path: Path, model: onnx.ModelProto, picture: Picture) -> dict[str, np.ndarray]:
    shape = [1, 3, picture.side, picture.side] if picture.layout == "NCHW" else [1, picture.side, picture.side, 3]
    values = np.zeros(shape, dtype=helper.tensor_dtype_to_np_dtype(picture.dtype))
    session = _session(path, model)
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, {picture.name: values}), strict=True))


def _session(path: Path, model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({reason}): export it again") from error


def _check_runs(path: Path, model: onnx.ModelProto, side: int, classes: int) -> None:
    session = _session(path, model)
    pictures = np.zeros((2, side, side, 3), dtype=np.uint8)
    try:
        (logits,) = session.run(["logits"], {_INPUT: pictures})
    except Exception as error:
        raise ModelError(
            f"{path}: it does not take two pictures at once: export it with a batch of any size"
        ) from error
    if logits.shape != (2, classes):
        raise ModelError(
            f"{path}: its output for two pictures is {logits.shape}, not two rows of {classes} values"
        )


def _before(picture: Picture, wanted: Wanted) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return nodes that convert uint8 images to the network's input: values, layout and element type."""
    if picture.dtype == TensorProto.UINT8:
        source, nodes, weights = _INPUT, [], []
    else:
        mean, std = (
            np.array(values, dtype=np.float32) for values in (wanted.preprocessing.mean, wanted.preprocessing.std)
        )
        weights = [
            numpy_helper.from_array(values.astype(np.float32), f"landmarks_{name}")
            for name, values in {"mean": 255 * mean, "std": 255 * std}.items()
        ]
        nodes = [
            helper.make_node("Cast", [_INPUT], ["landmarks_float"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["landmarks_float", "landmarks_mean"], ["landmarks_shifted"]),
            helper.make_node("Div", ["landmarks_shifted", "landmarks_std"], ["landmarks_scaled"]),
        ]
        source = "landmarks_scaled"
    if picture.layout == "NCHW":
        nodes.append(helper.make_node("Transpose", [source], ["landmarks_ordered"], perm=[0, 3, 1, 2]))
        source = "landmarks_ordered"
    # A cast to the same type costs nothing.
    return [*nodes, helper.make_node("Cast", [source], [picture.name], to=picture.dtype)], weights


def _after(output: str, scores: Scores, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return nodes that convert the network's output to logits and the embedding."""
    nodes = [helper.make_node("Cast", [output], ["landmarks_scores"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Flatten", ["landmarks_scores"], ["landmarks_rows"], axis=1))
    if scores in {"probabilities", "sigmoid"}:
        # The smallest normal float32.
        least = numpy_helper.from_array(np.array(1e-37, dtype=np.float32))
        nodes.append(helper.make_node("Constant", [], ["landmarks_least"], value=least))
        nodes.append(helper.make_node("Max", ["landmarks_rows", "landmarks_least"], ["landmarks_positive"]))
        nodes.append(helper.make_node("Log", ["landmarks_positive"], ["logits"]))
    else:
        nodes.append(helper.make_node("Identity", ["landmarks_rows"], ["logits"]))
    nodes.append(helper.make_node("Cast", [_embedding(output, graph)], ["landmarks_vector"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Flatten", ["landmarks_vector"], ["embedding"], axis=1))
    return nodes


def _embedding(output: str, graph: onnx.GraphProto) -> str:
    """Return the input of the last matrix product before an output, or the output itself."""
    makers = {name: node for node in graph.node for name in node.output}
    name = output
    while name in makers:
        node = makers[name]
        if node.op_type in {"Gemm", "MatMul"}:
            return str(node.input[0])
        if node.op_type not in {
            "Softmax",
            "LogSoftmax",
            "Sigmoid",
            "Add",
            "Identity",
            "Cast",
            "Flatten",
            "Squeeze",
        }:
            break
        name = node.input[0]
    return output
