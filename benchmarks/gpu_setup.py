"""What `benchmarks/gpu.py` measures: sets, networks, batches, precisions and layouts."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from landmarks.training.config.settings import (
    DataSettings,
    LoopSettings,
    ModelKind,
    Precision,
    RunSettings,
    default_settings,
)
from landmarks.training.data.loaders import Data, prepare_data
from landmarks.training.models.backbones import PACKAGED
from landmarks.training.models.networks import NetworkOfRun, build_network, trained_on_images

BACKBONE = "efficientnet_lite0"

AUGMENT = ("resized-crop", "flip", "trivial")
"""What our loop and the plain one do to a training picture."""


@dataclass(frozen=True)
class Setup:
    """What is measured, and where.

    Attributes:
        data: Image folder.
        cache: Folder of its decoded images.
        kind: `scratch`, or `transfer` for fine-tuning.
        size: Side of the training crop in pixels.
        batch: Images per step.
        workers: Loader processes.
        seconds: Length of each measurement.
        device: `cuda` or `cpu`.
        backbone: Name of the backbone of fine-tuning.
        weights: Its weights, or None for those of the installed package.
    """

    data: Path
    cache: Path
    kind: ModelKind
    size: int
    batch: int
    workers: int
    seconds: float
    device: str
    backbone: str = BACKBONE
    weights: Path | None = None

    def settings(self, precision: Precision, *, frozen: bool = False) -> RunSettings:
        """Return the project's defaults for one epoch, with one crop size and the augmentation of both loops."""
        usual = default_settings(self.data, self.kind, unfreeze=self.kind == "transfer" and not frozen)
        network, augment = usual.model, replace(usual.augment, names=AUGMENT)
        if self.kind == "transfer":
            network = replace(network, backbone=self.backbone, weights=self.weights)
        return replace(
            usual,
            cache=self.cache,
            model=network,
            loading=self.loading,
            augment=augment if frozen else replace(augment, sizes=(self.size,)),
            loop=LoopSettings(epochs=1, precision=precision, accelerator=self.device),
        )

    @property
    def loading(self) -> DataSettings:
        """Batches and workers, and enough validation images to compare devices by."""
        return DataSettings(self.batch, valid_size=0.3, workers=self.workers)

    def prepared(self, pictures: int = 0) -> Data:
        """Return the data, its training images again and again up to `pictures`."""
        data = prepare_data(self.data, self.loading, cache=self.cache)
        folder = data.folder
        more = folder.train * max(1, -(-pictures // len(folder.train)))
        return replace(data, folder=replace(folder, train=more[:pictures] if pictures else more))

    def network(self, precision: Precision) -> NetworkOfRun:
        """Build the network from the same seed each time."""
        data = self.prepared()
        torch.manual_seed(0)
        settings = self.settings(precision).model
        return trained_on_images(build_network(settings, data.folder.classes, data.preprocessing), settings)

    def batch_in_memory(self) -> tuple[Tensor, Tensor]:
        """Return one batch of noise and of the first two classes on the device, channels last."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(self.batch, 3, self.size, self.size, generator=generator)
        labels = torch.randint(2, (self.batch,), generator=generator)
        return images.to(self.device, memory_format=torch.channels_last), labels.to(self.device)

    def whole_batches(self, images_per_second: float) -> int:
        """Return how many images keep every worker equally busy for about `seconds` at this speed."""
        wave = self.batch * max(1, self.workers)
        return wave * max(1, round(images_per_second * self.seconds / wave))


class Same(Dataset[tuple[Tensor, Tensor]]):
    """One batch in memory, `count` times."""

    def __init__(self, batch: tuple[Tensor, Tensor], count: int) -> None:
        self._batch, self._count = batch, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        if position >= self._count:
            raise IndexError(position)
        return self._batch


@dataclass(frozen=True)
class Configuration:
    """A precision, a memory layout, and what the compiler or cuDNN may do.

    Attributes:
        precision: As in the settings.
        channels_last: Our loop trains in no other layout; without it the network is measured alone.
        compiled: Whether `torch.compile` translates the network.
        tuned: Whether cuDNN tries its algorithms (`torch.backends.cudnn.benchmark`).
    """

    precision: Precision
    channels_last: bool = True
    compiled: bool = False
    tuned: bool = False

    def cells(self) -> list[str]:
        """Return the cells that name it."""
        layout = "channels_last" if self.channels_last else "contiguous"
        return [self.precision, layout, "compile" if self.compiled else "cudnn.benchmark" if self.tuned else "-"]


def random_weights(folder: Path, name: str) -> Path | None:
    """Write random weights of a backbone; None where the package with its pretrained ones is installed."""
    packaged = PACKAGED.get(name)
    if packaged and importlib.util.find_spec(packaged.package):
        return None
    torch.manual_seed(0)
    network = timm.create_model(packaged.timm_name if packaged else name, pretrained=False)
    path = folder / "random.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return path
