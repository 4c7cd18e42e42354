"""Weights and configuration as timm stores them, in the layout of the Hugging Face Hub.

timm's networks have no step that scales features to unit length, as `TransferModel` does. The classifier is
therefore stored for features of the mean length of the training images: timm's own answer differs a little, as its
logits grow with the length of the features, and is exact if features are first scaled to that length, which
`config.json` states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from landmarks.errors import ExportError, RunError
from landmarks.files.atomic import write_bytes, write_json
from landmarks.imaging.preprocessing import normalize
from landmarks.model.probabilities import softmax
from landmarks.model.vectors import evenly
from landmarks.training.data.folders import Sample
from landmarks.training.data.loaders import Data, EvalTransform
from landmarks.training.engine.trained import TrainedRun
from landmarks.training.export.export import (
    INT8_LOSS,
    accuracy_difference,
    compared_pictures,
    require_same,
    trained_probabilities,
)
from landmarks.training.models.backbones import PACKAGED
from landmarks.training.models.transfer import TransferModel

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
LENGTH_PICTURES = 200
"""Training images of which the mean length of the features is measured."""

ACCURACY_PICTURES = 500
"""Validation images on which timm's own answer is compared with the trained network's."""


@dataclass(frozen=True)
class TimmReport:
    """How closely the network that timm builds agrees with the trained network.

    Attributes:
        exact: Maximum difference in probability with features scaled to the stored length.
        pictures: Validation images on which accuracies were measured.
        trained_accuracy: Accuracy of the trained network on them.
        timm_accuracy: Accuracy of timm's own answer on them.
    """

    exact: float
    pictures: int
    trained_accuracy: float
    timm_accuracy: float


def require_timm(run: TrainedRun) -> tuple[TransferModel, nn.Linear, str]:
    """Return the network of a run, its head, and the name of its backbone in timm.

    Raises:
        RunError: It is not a backbone of timm with a linear head.
    """
    model = run.model
    if not isinstance(model, TransferModel) or not isinstance(model.head, nn.Linear):
        raise RunError(
            f"{run.folder.root}: timm holds its own backbones with a linear head, not {run.architecture} with a "
            f"{type(model.head).__name__} head: export for landmarks, onnx or torchscript"
        )
    packaged = PACKAGED.get(run.architecture)
    return model, model.head, packaged.timm_name if packaged else run.architecture


def write_timm(run: TrainedRun, data: Data, folder: Path) -> TimmReport:
    """Write `model.safetensors` and `config.json`, and compare what timm makes of them.

    Args:
        run: A run of a backbone of timm with a linear head.
        data: Its images.
        folder: The folder to fill.

    Raises:
        RunError: The run is another.
        ExportError: timm does not predict what the trained network predicts.
        StorageError: A file cannot be written.
    """
    model, head, name = require_timm(run)
    crop = EvalTransform(run.preprocessing).crop
    crops = [crop(data.cache.picture(sample.path)) for sample in evenly(data.folder.train, LENGTH_PICTURES)]
    length = float(np.mean([_features(run, model, one).norm(dim=1).item() for one in crops]))
    network = _network(run, model, head, name, length)
    # In memory first: the library reports a full disk with an exception of its own.
    write_bytes(folder / WEIGHTS_FILE, save(network.state_dict(), metadata={"format": "pt"}))
    write_json(folder / CONFIG_FILE, _config(run, network, name, length))
    return _compare(run, data, timm.create_model(f"local-dir:{folder}", pretrained=True).eval(), length)


def _config(run: TrainedRun, network: Any, name: str, length: float) -> dict[str, Any]:
    """Return `config.json`; what timm knows of the weights it would have downloaded itself is left out."""
    preprocessing, own = run.preprocessing, network.pretrained_cfg
    return {
        "architecture": name,
        "num_classes": len(run.classes),
        "num_features": network.num_features,
        "label_names": run.classes,
        "landmarks": {"feature_length": length},
        "pretrained_cfg": {
            "input_size": (3, preprocessing.crop, preprocessing.crop),
            "interpolation": preprocessing.interpolation,
            # timm rounds the quotient of the two down: a hair less than exact, it finds `resize` in every case.
            "crop_pct": math.nextafter(preprocessing.crop / preprocessing.resize, 0),
            "crop_mode": "center",
            "mean": preprocessing.mean,
            "std": preprocessing.std,
            "num_classes": len(run.classes),
            **{key: own[key] for key in ("first_conv", "classifier", "fixed_input_size") if key in own},
        },
    }


def _network(run: TrainedRun, model: TransferModel, head: nn.Linear, name: str, length: float) -> Any:
    """Return the network of timm with the weights of a run."""
    network: Any = timm.create_model(name, pretrained=False, num_classes=len(run.classes))
    place = network.pretrained_cfg["classifier"]
    state: dict[str, Tensor] = {
        **model.backbone.state_dict(),
        f"{place}.weight": head.weight.detach() / length,
        f"{place}.bias": head.bias.detach(),
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(
            f"{run.folder.root}: {name} has more than one linear classifier in timm: export for landmarks, onnx "
            "or torchscript"
        ) from error
    return network.eval()


@torch.no_grad()
def _features(run: TrainedRun, model: TransferModel, crop: NDArray[np.uint8]) -> Tensor:
    features: Tensor = model.backbone(torch.from_numpy(normalize(crop[None], run.preprocessing)))
    return features


@torch.no_grad()
def _compare(run: TrainedRun, data: Data, network: Any, length: float) -> TimmReport:
    crop = EvalTransform(run.preprocessing).crop
    crops = np.stack([crop(picture) for picture in compared_pictures(data)])
    inputs = torch.from_numpy(normalize(crops, run.preprocessing))
    features = network.forward_head(network.forward_features(inputs), pre_logits=True)
    logits = network.get_classifier()(length * nn.functional.normalize(features))
    exact = require_same("timm", trained_probabilities(run, crops), softmax(logits.numpy()).astype(np.float32))

    samples = evenly(data.folder.valid, ACCURACY_PICTURES)
    right = np.array([_right(run, data, network, sample) for sample in samples])
    trained, own = right[:, 0], right[:, 1]
    difference = accuracy_difference(trained, own)
    if difference.high < -INT8_LOSS:
        raise ExportError(
            f"timm recognises {-difference.value:.1%} fewer of {difference.count} pictures than the trained "
            "network: export for landmarks, onnx or torchscript"
        )
    return TimmReport(exact, len(right), float(trained.mean()), float(own.mean()))


def _right(run: TrainedRun, data: Data, network: Any, sample: Sample) -> tuple[bool, bool]:
    """Return whether the trained network and timm's own answer are right for an image."""
    crop = EvalTransform(run.preprocessing).crop(data.cache.picture(sample.path))
    inputs = torch.from_numpy(normalize(crop[None], run.preprocessing))
    first, second = (int(one(inputs).argmax()) for one in (run.model, network))
    return first == sample.label, second == sample.label
