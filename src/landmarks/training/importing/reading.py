"""Chooses the reader of a PyTorch recogniser by its file."""

from __future__ import annotations

from pathlib import Path

from landmarks.model.importing.loaded import Loaded
from landmarks.training.importing.timm_network import hub_folder, load_timm
from landmarks.training.importing.torchscript import load_torchscript


def load_torch(
    path: Path, *, architecture: str = "", preprocessing: str = "", photos: Path | None = None
) -> Loaded:
    """Read a PyTorch recogniser as an ONNX model.

    Args:
        path: A TorchScript file, or weights of a network of timm, or a folder with them and their `config.json`.
        architecture: Name of the network in timm, for weights without `config.json`.
        preprocessing: Preprocessing of its input; a network of timm brings its own.
        photos: Folder of photos on which PyTorch and ONNX Runtime are compared, besides made pictures.

    Raises:
        ModelError: The file is damaged or cannot be converted.
        SettingsError: A setting is wrong, or must be given.
    """
    weights = path.suffix.lower() in {".safetensors", ".bin"} or path.is_dir() or hub_folder(path) is not None
    if architecture or weights:
        return load_timm(path, architecture=architecture, preprocessing=preprocessing, photos=photos)
    return load_torchscript(path, preprocessing=preprocessing, photos=photos)
