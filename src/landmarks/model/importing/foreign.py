"""Turns a foreign ONNX file into the `model.onnx` of a model folder.

The network is wrapped in the interface of a model folder: uint8 images (N, side, side, 3) in, `logits` (N, K) and
`embedding` (N, D) out. Probabilities become logits by their logarithm; those of a sigmoid, which may all be small,
get a class `background` with what the largest lacks to 1. The embedding is the output of this name beside
`logits`, else the input of the last matrix product, or the logits if there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, inliner, numpy_helper, version_converter

from landmarks.errors import ModelError
from landmarks.imaging.preprocessing import MAX_SIDE, normalize
from landmarks.model.engines import open_session
from landmarks.model.importing.preprocessing import Layout, Wanted
from landmarks.model.importing.scores import Meaning, Scores, class_output, made_pictures
from landmarks.model.ood import BACKGROUND, is_landmark

_OPSET = 18
_IR_VERSION = 10
_INPUT = "pictures"
_PREFIX = "source/"
_PRODUCTS = {"Gemm", "MatMul", "Conv"}
_RESHAPED = {"Identity", "Cast", "Flatten", "Squeeze", "Reshape"}
_ROUNDED = {"Div", "Round", "Clip", "Mul"}
"""How the steps of quantised TFLite models are rounded."""
_AFTER_PRODUCT = {"Softmax", "LogSoftmax", "Sigmoid", "Add", *_RESHAPED, *_ROUNDED}
"""Operations between the last product and an output that keep one value per class."""
_REASON = 200
"""Characters of a library's message that are shown."""


@dataclass(frozen=True)
class Picture:
    """The input of a foreign network.

    Attributes:
        name: Name in its graph.
        side: Side of the square, in pixels; None if it takes any.
        layout: Order of its dimensions.
        dtype: Element type, from `onnx.TensorProto`.
    """

    name: str
    side: int | None
    layout: Layout
    dtype: int


def read_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with its external data.

    Raises:
        ModelError: It is not an ONNX file, lacks its external data, or has operations that ONNX does not define.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file: give an .onnx file")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises nearly every type, depending on the damage
        raise ModelError(f"{path}: not an ONNX model that can be used (it is damaged): export it again") from error
    newest = onnx.defs.onnx_opset_version()
    version = opset_of(model)
    if version > newest:
        raise ModelError(
            f"{path}: opset {version} is newer than {newest}, the newest known: export it with {_OPSET}"
        )
    _load_external(path, model)
    try:
        onnx.checker.check_model(model)
        model = inliner.inline_local_functions(model)
    except Exception as error:
        raise ModelError(
            f"{path}: not an ONNX model that can be used ({_reason(error)}): export it again"
        ) from error
    domains = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if domains:
        raise ModelError(
            f"{path}: it has operations of {', '.join(sorted(domains))}, which ONNX does not define: export it "
            "without them"
        )
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operations in a model; 0 if it states none."""
    return next((item.version for item in model.opset_import if item.domain in {"", "ai.onnx"}), 0)


def _load_external(path: Path, model: onnx.ModelProto) -> None:
    """Read the weights beside an ONNX file; a file outside its folder is refused."""
    folder = path.parent.resolve()
    for tensor in onnx.external_data_helper._get_all_tensors(model):
        if not onnx.external_data_helper.uses_external_data(tensor):
            continue
        location = next((item.value for item in tensor.external_data if item.key == "location"), "")
        place = folder / location
        if not location or folder not in place.resolve().parents:
            raise ModelError(
                f"{path}: its weights are to be read from {location or 'nowhere'}, outside of its folder: put "
                "them beside it and export it again"
            )
        if not place.is_file():
            raise ModelError(f"{path}: the file with its weights, {location}, is missing: put it beside the model")
    try:
        onnx.load_external_data_for_model(model, str(folder))
    except Exception as error:
        raise ModelError(f"{path}: its weights cannot be read ({_reason(error)}): export it again") from error


def _reason(error: Exception) -> str:
    """Return the first line of an error of a library, short enough for a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".:")[:_REASON] if lines else type(error).__name__


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
    if height != width or height > MAX_SIDE:
        raise ModelError(
            f"{path}: the input {item.name} must be a square of at most {MAX_SIDE} pixels, not {height} x {width}"
            ": export it again"
        )
    if shape[0] > 1:
        raise ModelError(
            f"{path}: it takes batches of {shape[0]} only: export it with a batch of any size or of one"
        )
    if kind.elem_type not in {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8}:
        raise ModelError(f"{path}: the input {item.name} must be float32, float16 or uint8: export it again")
    return Picture(item.name, height or None, found, kind.elem_type)


def adapted(
    path: Path,
    model: onnx.ModelProto,
    picture: Picture,
    wanted: Wanted,
    *,
    classes: tuple[str, ...],
    scores: Scores,
) -> tuple[onnx.ModelProto, tuple[str, ...], Meaning]:
    """Wrap a network in the interface of a model folder.

    Args:
        path: Path of the model, for messages.
        model: The network.
        picture: Its input.
        wanted: How images are scaled for it.
        classes: The labels.
        scores: Meaning of its output, as stated by the user.

    Returns:
        The wrapped network, its classes, and what the output of the given one means.

    Raises:
        ModelError: No output has one value per label, its values are not what `scores` states, or the network
            cannot be run.
    """
    version, side = opset_of(model), wanted.preprocessing.crop
    if version < _OPSET:
        try:
            model = version_converter.convert_version(model, _OPSET)
        except Exception as error:
            raise ModelError(f"{path}: opset {version} cannot be read: export it with opset {_OPSET}") from error
    answers = _answers(path, model, picture, wanted)
    ends = {item.name: _last_operation(item.name, model.graph) for item in model.graph.output}
    name, meaning = class_output(path, answers, classes=len(classes), scores=scores, ends=ends)
    rest = meaning == "sigmoid" and bool(is_landmark(classes).all())
    named = (*classes, BACKGROUND) if rest else classes
    # Its own names could clash with those of the model folder, such as `pictures`.
    output = _PREFIX + name
    graph = compose.add_prefix(model, _PREFIX).graph
    picture = replace(picture, name=_PREFIX + picture.name)
    before, weights = _before(picture, wanted)
    after = _after(output, meaning, graph, rest=rest)
    new = helper.make_graph(
        [*before, *graph.node, *after],
        "imported",
        [helper.make_tensor_value_info(_INPUT, TensorProto.UINT8, ["batch", side, side, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(named)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", "size"]),
        ],
        [*graph.initializer, *weights],
    )
    opset = helper.make_opsetid("", max(version, _OPSET))
    made = helper.make_model(new, opset_imports=[opset], ir_version=max(model.ir_version, _IR_VERSION))
    _check_runs(path, made, side, answers[name].reshape(-1, len(classes)), meaning)
    return made, named, meaning


def _answers(
    path: Path, model: onnx.ModelProto, picture: Picture, wanted: Wanted
) -> dict[str, NDArray[np.float32]]:
    """Run a network on made pictures, one at a time; returns the values of each output, (P, ...)."""
    pictures = made_pictures(wanted.preprocessing.crop)
    values: NDArray[np.uint8] | NDArray[np.float32] = pictures
    if picture.dtype != TensorProto.UINT8:
        values = normalize(pictures, wanted.preprocessing)
    elif picture.layout == "NCHW":
        values = pictures.transpose(0, 3, 1, 2)
    if picture.dtype != TensorProto.UINT8 and picture.layout == "NHWC":
        values = values.transpose(0, 2, 3, 1)
    taken = values.astype(helper.tensor_dtype_to_np_dtype(picture.dtype))
    session = _session(path, model)
    names = [item.name for item in session.get_outputs()]
    try:
        found = [session.run(names, {picture.name: one[None]}) for one in taken]
    except Exception as error:
        raise ModelError(f"{path}: it cannot be run on a picture ({_reason(error)}): export it again") from error
    outputs = dict(zip(names, zip(*found, strict=True), strict=True))
    arrays = {name: [one for one in rows if isinstance(one, np.ndarray)] for name, rows in outputs.items()}
    return {
        name: np.stack(rows).astype(np.float32)
        for name, rows in arrays.items()
        if len(rows) == len(taken) and len({one.shape for one in rows}) == 1
    }


def _session(path: Path, model: onnx.ModelProto) -> Any:
    try:
        return open_session(model.SerializeToString())
    except Exception as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({_reason(error)}): export it again") from error


def _check_runs(
    path: Path, model: onnx.ModelProto, side: int, expected: NDArray[np.float32], meaning: Meaning
) -> None:
    """Check that the wrapped network takes several pictures at once and answers as it did for each alone."""
    session = _session(path, model)
    try:
        (logits,) = session.run(["logits"], {_INPUT: made_pictures(side)})
    except Exception as error:
        raise ModelError(
            f"{path}: it does not take two pictures at once: export it with a batch of any size"
        ) from error
    logits = logits[:, : expected.shape[1]]  # without the background that was added
    if logits.shape != expected.shape:
        raise ModelError(
            f"{path}: its output for {len(expected)} pictures is {logits.shape}, not rows of {expected.shape[1]} "
            "values: export it with a batch of any size"
        )
    values = np.exp(logits) if meaning in {"probabilities", "sigmoid"} else logits
    # float16 networks round to three digits.
    if not np.allclose(values, expected, rtol=1e-2, atol=1e-2 * max(1.0, float(np.abs(expected).max()))):
        raise ModelError(
            f"{path}: it answers differently for several pictures at once: export it with a batch of any size"
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


def _after(output: str, scores: Meaning, graph: onnx.GraphProto, *, rest: bool) -> list[onnx.NodeProto]:
    """Return nodes that make logits of the network's output, also of the rest if wanted, and the embedding."""
    nodes = [helper.make_node("Cast", [output], ["landmarks_scores"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Flatten", ["landmarks_scores"], ["landmarks_rows"], axis=1))
    rows = "landmarks_rows"
    if rest:
        for name, value in (("axes", np.array([1], np.int64)), ("one", np.array(1, np.float32))):
            constant = numpy_helper.from_array(value)
            nodes.append(helper.make_node("Constant", [], [f"landmarks_{name}"], value=constant))
        nodes.append(helper.make_node("ReduceMax", [rows, "landmarks_axes"], ["landmarks_highest"]))
        nodes.append(helper.make_node("Sub", ["landmarks_one", "landmarks_highest"], ["landmarks_rest"]))
        nodes.append(helper.make_node("Concat", [rows, "landmarks_rest"], ["landmarks_all"], axis=1))
        rows = "landmarks_all"
    if scores in {"probabilities", "sigmoid"}:
        # The smallest normal float32.
        least = numpy_helper.from_array(np.array(1e-37, dtype=np.float32))
        nodes.append(helper.make_node("Constant", [], ["landmarks_least"], value=least))
        nodes.append(helper.make_node("Max", [rows, "landmarks_least"], ["landmarks_positive"]))
        nodes.append(helper.make_node("Log", ["landmarks_positive"], ["logits"]))
    else:
        nodes.append(helper.make_node("Identity", [rows], ["logits"]))
    nodes.append(helper.make_node("Cast", [_embedding(output, graph)], ["landmarks_vector"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Flatten", ["landmarks_vector"], ["embedding"], axis=1))
    return nodes


def _last_operation(output: str, graph: onnx.GraphProto) -> str:
    """Return the operation that makes an output, but for changes of shape and type and for rounding."""
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in _RESHAPED | _ROUNDED:
        node = makers.get(node.input[0])
    return "" if node is None else str(node.op_type)


def _moves_channels(node: onnx.NodeProto) -> bool:
    """Return whether a node changes the layout of images alone, which keeps the batch first."""
    orders = [list(item.ints) for item in node.attribute if item.name == "perm"]
    return node.op_type == "Transpose" and orders in ([[0, 2, 3, 1]], [[0, 3, 1, 2]])


def _embedding(output: str, graph: onnx.GraphProto) -> str:
    """Return the embedding of an export, else the input of the last matrix product, or the output itself."""
    named = f"{_PREFIX}embedding"
    if output == f"{_PREFIX}logits" and any(item.name == named for item in graph.output):
        return named
    makers = {name: node for node in graph.node for name in node.output}
    name = output
    while name in makers:
        node = makers[name]
        if node.op_type in _PRODUCTS:
            return str(node.input[0])
        if node.op_type not in _AFTER_PRODUCT and not _moves_channels(node):
            break
        name = node.input[0]
    return output
