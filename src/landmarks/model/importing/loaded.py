"""Reads a recogniser that others trained, of any format that needs no PyTorch, as an ONNX model."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import onnx

from landmarks.errors import ModelError
from landmarks.model.importing.foreign import read_model
from landmarks.model.importing.labels import carried_labels
from landmarks.model.importing.preprocessing import preprocessing_beside
from landmarks.model.importing.tfjs.conversion import convert
from landmarks.model.importing.tfjs.graph import DAMAGE, Graph, read_graph
from landmarks.model.importing.tflite.graph import GraphMaker, input_range
from landmarks.model.importing.tflite.model import TfliteModel, read_tflite

_FORMATS = (
    "give an .onnx or .tflite file, the model.json of a TensorFlow.js model, a TorchScript file (.pt), or weights "
    "of a timm network"
)

_TORCH_SUFFIXES = {".pt", ".pth", ".ts", ".torchscript", ".safetensors", ".bin", ".ckpt"}


@dataclass(frozen=True, eq=False)
class Loaded:
    """A foreign recogniser.

    Attributes:
        path: Its file or folder.
        model: The network, with one input of images.
        labels: Names of its classes in the order of its output; empty if the file does not hold them.
        preprocessing: Preprocessing of its input, as text; empty if the file does not hold it.
        architecture: Name of the network.
    """

    path: Path
    model: onnx.ModelProto
    labels: tuple[str, ...] = ()
    preprocessing: str = ""
    architecture: str = "imported"

    @property
    def title(self) -> str:
        """The name of the file without its ending, or of the folder if the file has a common name."""
        path = self.path.resolve()
        return path.name if path.is_dir() else path.parent.name if path.name == "model.json" else path.stem


def needs_torch(path: Path) -> bool:
    """Return whether a file or folder is a PyTorch recogniser, which `landmarks.training.importing` reads."""
    if path.is_dir():
        return (path / "config.json").is_file()
    return path.suffix.lower() in _TORCH_SUFFIXES


def load(path: Path) -> Loaded:
    """Read a model.

    Args:
        path: `.onnx`, `.tflite`, or the `model.json` of a TensorFlow.js model or its folder.

    Raises:
        ModelError: The file is missing or is not a model of a known format.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such file: {_FORMATS}")
    place = path / "model.json" if path.is_dir() else path
    if not place.is_file():
        what = "a folder without a model.json" if path.is_dir() else "not a file"
        raise ModelError(f"{path}: {what}: {_FORMATS}")
    match place.suffix.lower():
        case ".onnx":
            return Loaded(path, read_model(place), preprocessing=preprocessing_beside(place))
        case ".json":
            return Loaded(path, _converted(path, read_graph(place), None))
        case ".tflite":
            return _tflite(path)
        case _:
            raise ModelError(f"{path}: not a model: {_FORMATS}")


def _converted(path: Path, graph: Graph, value_range: tuple[float, float] | None) -> onnx.ModelProto:
    outputs = {f"output_{number}": name for number, name in enumerate(graph.outputs)}
    try:
        return convert(graph, outputs, value_range=value_range)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except DAMAGE as error:
        raise ModelError(f"{path}: the graph is damaged ({error}): fetch the model again") from error


def _tflite(path: Path) -> Loaded:
    model = read_tflite(path)
    try:
        graph = GraphMaker(path, model).made()
        pixels = input_range(model.tensors[model.inputs[0]]) if model.inputs else None
    except (struct.error, *DAMAGE) as error:
        raise ModelError(f"{path}: the file is damaged ({error}): fetch it again") from error
    # Without the scale of its pixels the file does not tell how to prepare a photo.
    scaled = "" if pixels else _scale(model)
    sides = next(iter(graph.inputs.values()), ())
    told = f"squash:{sides[1]}{scaled}" if len(sides) == 4 and (pixels or scaled) else ""
    return Loaded(path, _converted(path, graph, pixels), carried_labels(path), told)


def _scale(model: TfliteModel) -> str:
    """Return mean and deviation of the metadata, which are for pixels in 0..255, as text."""
    if model.normalization is None:
        return ""
    mean, std = ("/".join(map(str, values * (3 if len(values) == 1 else 1))) for values in model.normalization)
    return f",range:0..255,mean:{mean},std:{std}"
