"""TorchScript files, of `torch.jit.trace` or `torch.jit.script`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from landmarks.errors import ModelError, SettingsError
from landmarks.imaging.preprocessing import normalize
from landmarks.model.importing.loaded import Loaded
from landmarks.model.importing.preprocessing import parse_preprocessing
from landmarks.training.importing.conversion import converted
from landmarks.training.importing.pictures import compared_inputs
from landmarks.training.models.torchscript import open_torchscript


def load_torchscript(path: Path, *, preprocessing: str, photos: Path | None = None) -> Loaded:
    """Read a TorchScript file as an ONNX model.

    Args:
        path: The file. It takes float images (N, 3, S, S), or (N, S, S, 3) if the preprocessing states so.
        preprocessing: Preprocessing of its input, with the side, which TorchScript does not hold.
        photos: Folder of photos on which both are compared, besides made ones.

    Raises:
        ModelError: The file is not TorchScript, or its network cannot be converted.
        SettingsError: The preprocessing is wrong or empty.
    """
    remedy = "save the network with torch.jit.save, or name the network of its weights in timm with `architecture`"
    network = open_torchscript(path, missing="give a TorchScript file", damaged=remedy)
    if all(hasattr(network, name) for name in ("class_names", "resize", "crop")):
        raise ModelError(f"{path}: landmarks export made it, and it resizes photos itself: add the model folder")
    if not preprocessing:
        raise SettingsError(f"{path}: `preprocessing` must be given: the file does not tell")
    wanted = parse_preprocessing(preprocessing, side=None)
    inputs = normalize(compared_inputs(wanted.preprocessing, photos), wanted.preprocessing)
    if wanted.layout == "NHWC":
        inputs = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))
    return Loaded(path, converted(path, network, inputs), architecture="torchscript")
