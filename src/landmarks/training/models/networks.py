"""Builds the network of a run from its settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from landmarks.errors import ModelError, SettingsError, require_choice
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.settings import ModelSettings
from landmarks.training.models.folding import fold_for_training
from landmarks.training.models.heads import head_factory
from landmarks.training.models.model import MyModel
from landmarks.training.models.transfer import TransferModel, get_model_transfer_learning
from landmarks.training.models.weights import load_weights, start_from

SCRATCH = "mymodel"
"""Name of `MyModel` in weights files and model folders."""

USUALLY_FROZEN = 3
"""Stages that keep their weights in fine-tuning, in a backbone of at least twice as many."""


@dataclass(frozen=True)
class NetworkOfRun:
    """A network, its name, the preprocessing it needs and the names of its classes.

    Attributes:
        shared: Number of classes whose row of the head is that of the run it starts from; None without one.
    """

    model: nn.Module
    architecture: str
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    shared: int | None = None

    @property
    def has_head(self) -> bool:
        """Whether the run it starts from has trained every row of its head."""
        return self.shared == len(self.classes)


def build_network(
    settings: ModelSettings, classes: tuple[str, ...], preprocessing: Preprocessing, *, pretrained: bool = True
) -> NetworkOfRun:
    """Build the network of a run.

    Args:
        settings: The network; `settings.init` names the run to take initial weights from.
        classes: Class names.
        preprocessing: The preprocessing with the statistics of the data, for a network from scratch.
        pretrained: False leaves the weights of a backbone to `load_trained`.

    Raises:
        SettingsError: There is no such kind of network, no such head, or no stage left to train.
        ModelError: The backbone or the initial run is unknown, damaged or of another architecture.
    """
    require_choice("method", settings.kind, ("scratch", "transfer"))
    head = head_factory(settings)
    name, contract = settings.backbone, preprocessing
    model: nn.Module
    if settings.kind == "scratch":
        name = SCRATCH
        model = MyModel(len(classes), settings.dropout, widths=settings.widths, depths=settings.depths, head=head)
    else:
        transfer, contract = get_model_transfer_learning(
            settings.backbone,
            len(classes),
            dropout=settings.dropout,
            weights=settings.weights,
            pretrained=pretrained and settings.init is None,  # else every weight is that of the other run
            head=head,
        )
        model = transfer
        if settings.frozen is not None and settings.frozen > (most := max(0, len(transfer.stages()) - 1)):
            raise SettingsError(f"`frozen` must be at most {most} with {name}, not {settings.frozen}")
    contract = replace(contract, resize=settings.resize, crop=settings.crop)
    network = NetworkOfRun(model, name, contract, classes)
    if settings.init is not None and pretrained:
        shared = start_from(settings.init / "weights.safetensors", network.model, network.architecture, classes)
        return replace(network, shared=shared)
    return network


def require_sizes(network: NetworkOfRun, sizes: Iterable[int] = ()) -> None:
    """Refuse a backbone that does not take images of a size: many a network of timm takes one size alone.

    Args:
        network: The network, which is left in evaluation mode.
        sizes: Sides of training crops, in pixels, that it is to take beside the crop of its preprocessing.

    Raises:
        ModelError: It does not take one of them.
    """
    if not isinstance(network.model, TransferModel):
        return
    model = network.model.eval()
    for side, setting in {**dict.fromkeys(sizes, "sizes"), network.preprocessing.crop: "crop"}.items():
        try:
            with torch.no_grad():
                model.embed(torch.zeros(1, 3, side, side))
        except (AssertionError, RuntimeError) as error:  # as each family of timm has it
            why = str(error).partition("\n")[0].rstrip(".")
            raise ModelError(
                f"`backbone` {network.architecture}: it takes no images of {side} pixels ({why}): set `{setting}` "
                "to the size of the network, or choose another one"
            ) from error


def trained_on_images(network: NetworkOfRun, settings: ModelSettings) -> NetworkOfRun:
    """Return a network as it learns from images: from scratch as it is, a pretrained one unfrozen.

    The batch norms of a pretrained one keep their statistics, so its convolutions do their work. What it learns
    can be loaded into `network`: names stay the same.
    """
    if not isinstance(network.model, TransferModel):
        return network
    usual = USUALLY_FROZEN if len(network.model.stages()) >= 2 * USUALLY_FROZEN else 0
    network.model.unfreeze(usual if settings.frozen is None else settings.frozen)
    side = network.preprocessing.crop
    seen = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return replace(network, model=fold_for_training(network.model.eval(), seen))


def load_trained(
    settings: ModelSettings, classes: tuple[str, ...], preprocessing: Preprocessing, weights: Path
) -> NetworkOfRun:
    """Build the network of a finished run with its trained weights, in evaluation mode.

    Raises:
        ModelError: The weights are missing, damaged, changed, or of another architecture.
    """
    network = build_network(settings, classes, preprocessing, pretrained=False)
    load_weights(weights, network.model, network.architecture)
    network.model.eval()
    return network
