"""Reads a recognizer that others trained, of any format that needs no PyTorch, as an ONNX model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from landmarks.errors import ModelError
from landmarks.model.importing.foreign import read_model
from landmarks.model.importing.tfjs.conversion import convert
from landmarks.model.importing.tfjs.graph import read_graph

_FORMATS = (
    "give an .onnx or .tflite file, the model.json of a TensorFlow.js model, a TorchScript file (.pt), or weights "
    "of a timm network"
)

_TORCH_SUFFIXES = {".pt", ".pth", ".ts", ".torchscript", ".safetensors", ".bin", ".ckpt"}


@dataclass(frozen=True, eq=False)
class Loaded:
    """A foreign recognizer.

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
    """Return whether a file or folder is a PyTorch recognizer, which `landmarks.training.importing` reads."""
    if path.is_dir():
        return (path / "config.json").is_file() and not (path / "model.json").is_file()
    return path.suffix.lower() in _TORCH_SUFFIXES


def load(path: Path) -> Loaded:
    """Read a model.

    Args:
        path: `.onnx`, or the `model.json` of a TensorFlow.js model or its folder.

    Raises:
        ModelError: The file is missing or is not a model of a known format.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such file: {_FORMATS}")
    place = path / "model.json" if path.is_dir() else path
    if not place.is_file():
        raise ModelError(f"{path}: a folder without a model.json: {_FORMATS}")
    match place.suffix.lower():
        case ".onnx":
            return Loaded(path, read_model(place))
        case ".json":
            graph = read_graph(place)
            outputs = {f"output_{number}": name for number, name in enumerate(graph.outputs)}
            return Loaded(path, convert(graph, outputs, value_range=None))
        case _:
            raise ModelError(f"{path}: not a model: {_FORMATS}")
