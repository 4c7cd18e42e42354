"""A generated recogniser of colours: enough for every test that only needs some model.

The network uses the mean colour of an image as its embedding and compares it with one colour per class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import ExifTags, Image

from landmarks.fewshot.reference import make_reference
from landmarks.files.checksums import sha256_file
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.model.calibration import Calibration
from landmarks.model.folder import ONNX_FILE, REFERENCE_FILE, ModelInfo, read_info, write_info

COLOURS = {
    "07.Eiffel_Tower": (230, 30, 30),
    "02.Casa_da_Musica": (30, 230, 30),
    "05.Clerigos_Tower": (30, 200, 100),
    "31.Stonehenge": (30, 30, 230),
    "background": (128, 128, 128),
}
"""Class name -> its colour. Two of them are in Porto and close together."""

CROP = 32


def make_model(
    folder: Path,
    *,
    colours: dict[str, tuple[int, int, int]] = COLOURS,
    calibration: Calibration | None = None,
    sharpness: float = 60.0,
) -> Path:
    """Write a model folder.

    Args:
        folder: The folder to create.
        colours: Classes and their colours.
        calibration: Calibration of the model, or None.
        sharpness: How steeply the logits fall with the distance of the colours.
    """
    folder.mkdir(parents=True)
    onnx.save(_graph(list(colours.values()), sharpness), folder / ONNX_FILE)
    info = ModelInfo(
        name=folder.name,
        architecture="colours",
        precision="fp32",
        classes=tuple(colours),
        preprocessing=Preprocessing(resize=CROP, crop=CROP),
        temperature=1.0 if calibration is None else calibration.temperature,
        calibration=None if calibration is None else calibration.to_dict(),
        created="2026-01-01",
        files={ONNX_FILE: sha256_file(folder / ONNX_FILE)},
    )
    write_info(folder, info)
    return folder


def add_reference(folder: Path, colours: dict[str, tuple[int, int, int]] = COLOURS) -> Path:
    """Give a model a reference: shades of its colours, and of grey as photos without a landmark."""
    rng = np.random.default_rng(0)

    def shades(colour: tuple[int, int, int], count: int) -> NDArray[np.float32]:
        return (np.array(colour) / 255 + 0.02 * rng.normal(size=(count, 3))).astype(np.float32)

    known = [colour for name, colour in colours.items() if name != "background"]
    embeddings = np.concatenate([shades(colour, 12) for colour in known])
    labels = np.repeat(np.arange(len(known)), 12)
    make_reference(embeddings, labels, shades((128, 128, 128), 120)).save(folder / REFERENCE_FILE)
    info = read_info(folder)
    write_info(folder, replace(info, files={**info.files, REFERENCE_FILE: sha256_file(folder / REFERENCE_FILE)}))
    return folder


def calibrated(**changes: Any) -> Calibration:
    """Return a calibration for the colours: grey is unknown."""
    values = {"temperature": 1.0, "threshold": 0.5, "target_fpr": 0.01, **changes}
    return Calibration(score="known_mass", **values)


def save_colour(
    path: Path, colour: Sequence[int], size: tuple[int, int] = (64, 48), exif: Image.Exif | None = None
) -> Path:
    """Save a picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, tuple(colour)).save(path, exif=Image.Exif() if exif is None else exif)
    return path


def camera_exif(position: tuple[float, float] | None = None, taken: str = "", zone: str = "") -> Image.Exif:
    """Return the EXIF of a camera: its position in degrees, its clock as EXIF writes it, and the time zone."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "drawn"
    if position is not None:
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        for axis, value, letters in (("Latitude", position[0], "NS"), ("Longitude", position[1], "EW")):
            gps[ExifTags.GPS[f"GPS{axis}Ref"]] = letters[value < 0]
            gps[ExifTags.GPS[f"GPS{axis}"]] = (abs(value), 0.0, 0.0)
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    for key, text in ((ExifTags.Base.DateTimeOriginal, taken), (ExifTags.Base.OffsetTimeOriginal, zone)):
        if text:
            inner[key] = text
    return exif


def _graph(colours: Sequence[Sequence[int]], sharpness: float) -> onnx.ModelProto:
    # |x - c|^2 = |x|^2 - 2 x c + |c|^2, and |x|^2 is the same for all classes.
    points = np.array(colours, dtype=np.float32) / 255
    weights = {
        "scale": np.array(255, dtype=np.float32),
        "weight": (2 * sharpness * points.T).astype(np.float32),
        "bias": (-sharpness * (points**2).sum(axis=1)).astype(np.float32),
        "axes": np.array([1, 2], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["pictures"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "scale"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "axes"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["batch", CROP, CROP, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(colours)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3]),
        ],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
