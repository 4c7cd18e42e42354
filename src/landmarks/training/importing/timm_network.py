"""Networks of timm with local weights: a folder of the Hugging Face Hub, or a state dict and the name in timm."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from landmarks.errors import ModelError, SettingsError
from landmarks.imaging.preprocessing import normalize
from landmarks.model.importing.loaded import Loaded
from landmarks.model.importing.preprocessing import parse_preprocessing
from landmarks.training.importing.conversion import converted
from landmarks.training.importing.pictures import compared_inputs
from landmarks.training.models.backbones import PACKAGED, read_state

CONFIG_FILE = "config.json"
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Description:
    """What is known of a network besides its weights.

    Attributes:
        architecture: Its name in timm.
        labels: Names of its classes; empty if they are not known.
        config: Preprocessing as timm states it: `input_size`, `mean`, `std`, `crop_pct`, `crop_mode`.
        arguments: Further arguments of the network.
        feature_length: Length to which its features are scaled before the classifier, as `landmarks export` states
            it; None for networks of others.
    """

    architecture: str
    labels: tuple[str, ...]
    config: Mapping[str, Any]
    arguments: Mapping[str, Any]
    feature_length: float | None


def hub_folder(path: Path) -> Path | None:
    """Return the folder of the Hugging Face Hub that a path is or is in, or None."""
    folder = path if path.is_dir() else path.parent
    return folder if (folder / CONFIG_FILE).is_file() else None


def load_timm(
    path: Path, *, architecture: str = "", preprocessing: str = "", photos: Path | None = None
) -> Loaded:
    """Read a network of timm as an ONNX model.

    Args:
        path: A folder with `config.json` and `model.safetensors`, or a state dict (safetensors or PyTorch).
        architecture: Name of the network in timm; empty if a `config.json` states it.
        preprocessing: Preprocessing of its input; empty for that of `config.json`, or timm's for this network.
        photos: Folder of photos on which both are compared, besides made ones.

    Raises:
        ModelError: The folder or the weights are damaged or do not fit, or the network cannot be converted.
        SettingsError: The name or the preprocessing is wrong.
    """
    folder = None if architecture else hub_folder(path)
    if folder is None and not architecture:
        raise SettingsError(f"{path}: `architecture` must be given: the file does not tell its network in timm")
    weights = path
    if path.is_dir():
        known = [path / name for name in WEIGHTS_FILES]
        weights = next((one for one in known if one.is_file()), known[0])
    described = _described(folder) if folder is not None else _named(architecture)
    state = _state(weights)
    network = _network(weights, described, state)
    text = preprocessing or _preprocessing(path, described.config or network.pretrained_cfg)
    wanted = parse_preprocessing(text, side=None)
    inputs = normalize(compared_inputs(wanted.preprocessing, photos), wanted.preprocessing)
    whole = network if described.feature_length is None else _ScaledFeatures(network, described.feature_length)
    model = converted(path, whole.eval(), inputs)
    return Loaded(path, model, described.labels, text, described.architecture)


class _ScaledFeatures(nn.Module):
    """A network of timm whose features are scaled to one length, as `landmarks` trains it."""

    def __init__(self, network: Any, length: float) -> None:
        super().__init__()
        self.network = network
        self.length = length

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, S, S) to logits (B, K)."""
        features = self.network.forward_head(self.network.forward_features(images), pre_logits=True)
        logits: Tensor = self.network.get_classifier()(self.length * nn.functional.normalize(features))
        return logits


def _named(architecture: str) -> Description:
    packaged = PACKAGED.get(architecture)
    return Description(_known(architecture, packaged.timm_name if packaged else architecture), (), {}, {}, None)


def _known(given: str, name: str) -> str:
    # A name such as `hf-hub:USER/NAME` would download.
    if not timm.is_model(name.partition(".")[0]) or ":" in name:
        near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.4)
        hint = f", such as {near[0]}" if near else ""
        raise SettingsError(f"`architecture` must be a network of timm{hint}, not {given!r}")
    return name


def _described(folder: Path) -> Description:
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        architecture = str(values["architecture"])
        config = {**values, **values.get("pretrained_cfg", {})}
        length = values.get("landmarks", {}).get("feature_length")
        described = Description(
            architecture,
            _labels(values.get("label_names") or config.get("label_names")),
            {key: config[key] for key in ("input_size", "mean", "std", "crop_pct", "crop_mode") if key in config},
            dict(values.get("model_args") or {}),
            None if length is None else float(length),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path}: not the configuration of a network of timm ({error}): name the network with `architecture`"
        ) from error
    try:
        _known(architecture, architecture)
    except SettingsError as error:
        raise ModelError(f"{path}: {architecture!r} is not a network of timm: correct its architecture") from error
    return described


def _labels(values: Any) -> tuple[str, ...]:
    if isinstance(values, Mapping):
        values = [values[key] for key in sorted(values, key=int)]
    return tuple(str(one) for one in values or ())


def _state(path: Path) -> dict[str, Tensor]:
    try:
        return read_state(path)
    except ModelError as error:
        raise ModelError(
            f"{path}: not a state dict that can be read: give safetensors, or what torch.save(model.state_dict()) "
            "writes"
        ) from error


def _network(path: Path, described: Description, state: Mapping[str, Tensor]) -> Any:
    """Build a network with as many classes as its weights have."""
    name = described.architecture
    place = timm.get_pretrained_cfg_value(name, "classifier")
    place = place[0] if isinstance(place, tuple | list) else place
    held = state.get(f"{place}.weight")
    if held is None:
        raise ModelError(
            f"{path}: these weights have no classifier {place!r}, as {name} of timm has: check `architecture`"
        )
    try:
        network: Any = timm.create_model(
            name, pretrained=False, num_classes=len(held), exportable=True, **described.arguments
        )
        network.load_state_dict(dict(state))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: these weights do not fit {name} of timm: check `architecture`") from error
    return network.eval()


def _preprocessing(path: Path, config: Mapping[str, Any]) -> str:
    """Return timm's preprocessing as text."""
    try:
        _, height, width = config.get("input_size", (3, 224, 224))
        share, mode = float(config.get("crop_pct") or 0.875), config.get("crop_mode") or "center"
        mean, std = ("/".join(str(float(one)) for one in config[key]) for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: its configuration has a wrong {error}: give `preprocessing`") from error
    squashed = mode == "squash" and share == 1
    if height != width or not 0 < share <= 1 or not (squashed or mode == "center"):
        raise SettingsError(
            f"{path}: its preprocessing ({height} x {width} pixels, {mode}) cannot be had: give `preprocessing`"
        )
    # The quotient of two stored numbers may be a hair below the whole number that they stand for.
    size = f"squash:{width}" if squashed else f"short:{math.floor(width / share + 1e-6)},crop:{width}"
    return f"{size},mean:{mean},std:{std}"
