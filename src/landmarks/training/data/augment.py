"""Augmentations by name, applied to training images only.

Per image: a crop, then the other names in the order given. Per batch: MixUp (Zhang et al. 2018,
https://arxiv.org/abs/1710.09412) and CutMix (Yun et al. 2019, https://arxiv.org/abs/1905.04899).
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from landmarks.errors import require_choice
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.training.config.rules import MIXES
from landmarks.training.config.settings import AugmentSettings

CROPS = ("resized-crop", "crop")


def downscale(image: Tensor, smallest: float = 0.3) -> Tensor:
    """Resize an image to a random fraction of its size, and back, like a thumbnail that was enlarged.

    Args:
        image: (3, H, W) uint8.
        smallest: Smallest fraction; they are drawn log-uniformly up to 1.
    """
    scale = smallest ** float(torch.rand(()))
    height, width = image.shape[-2:]
    smaller = v2.functional.resize(image, [max(1, round(height * scale)), max(1, round(width * scale))])
    enlarged: Tensor = v2.functional.resize(smaller, [height, width])
    return enlarged


def compress(image: Tensor, lowest: int = 40, highest: int = 95) -> Tensor:
    """Encode an image (3, H, W) as JPEG of a random quality, and decode it."""
    content = io.BytesIO()
    quality = int(torch.randint(lowest, highest + 1, ()))
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(content, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(content))).permute(2, 0, 1).contiguous()


QUALITY = v2.Compose(
    [
        v2.RandomApply([v2.Lambda(downscale)], 0.7),
        v2.RandomApply([v2.GaussianBlur(5, sigma=(0.4, 1.5))], 0.15),
        v2.RandomApply([v2.Lambda(compress)], 0.75),
    ]
)
"""Draws resolution, blur and JPEG quality anew, so that the source of an image cannot be told from them."""


class TrainTransform:
    """Turns a cached image into an augmented training crop.

    Args:
        settings: The augmentations.
        size: Side of the crop in pixels.
        preprocessing: Preprocessing whose ratio of resize to crop the plain `crop` keeps.
    """

    def __init__(self, settings: AugmentSettings, size: int, preprocessing: Preprocessing) -> None:
        names = settings.names
        short_side = round(size * preprocessing.resize / preprocessing.crop)
        if "resized-crop" in names:
            scale = (settings.crop_scale, 1.0)
            crop: list[v2.Transform] = [v2.RandomResizedCrop(size, scale=scale, antialias=True)]
        elif "crop" in names:
            crop = [v2.Resize(short_side, antialias=True), v2.RandomCrop(size)]
        else:
            crop = [v2.Resize(short_side, antialias=True), v2.CenterCrop(size)]
        self._crop = v2.Compose(crop)
        steps = {
            # Rotation by at most 15 degrees keeps a tower upright; corners are filled with mid-grey.
            "rotation": v2.RandomRotation(15, interpolation=v2.InterpolationMode.BILINEAR, fill=128),
            "flip": v2.RandomHorizontalFlip(),
            "quality": QUALITY,
            "jitter": v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.02),
            # Mueller and Hutter 2021, https://arxiv.org/abs/2103.10158
            "trivial": v2.TrivialAugmentWide(),
            # Cubuk et al. 2020, https://arxiv.org/abs/1909.13719
            "rand": v2.RandAugment(),
            # Zhong et al. 2017, https://arxiv.org/abs/1708.04896
            "erasing": v2.RandomErasing(p=0.25),
        }
        for name in names:
            require_choice("augment", name, (*CROPS, *steps, *MIXES))
        self._rest = [steps[name] for name in names if name in steps]

    def __call__(self, picture: NDArray[np.uint8]) -> Tensor:
        """Return the augmented uint8 crop (3, size, size) of an image (H, W, 3)."""
        result: Tensor = self._crop(torch.from_numpy(picture).permute(2, 0, 1)).contiguous()
        for step in self._rest:
            result = step(result)
        return result


class Collate:
    """Collates samples into a batch: stacked, normalised, and in training blended by MixUp or CutMix.

    Args:
        preprocessing: Mean and deviation of the normalisation.
        classes: Number of classes.
        mixes: Any of `mixup` and `cutmix`; one is drawn for each blended batch.
        mix_probability: Fraction of the batches that are blended.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        classes: int,
        mixes: Sequence[str] = (),
        mix_probability: float = 0.0,
    ) -> None:
        # One multiplication and one subtraction per pixel: (x / 255 - mean) / std = x * scale - offset.
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self._scale = (1 / (255 * std)).view(1, 3, 1, 1)
        self._offset = (mean / std).view(1, 3, 1, 1)
        known = {
            "mixup": v2.MixUp(alpha=0.2, num_classes=classes),
            "cutmix": v2.CutMix(alpha=1.0, num_classes=classes),
        }
        self._mixes = [known[name] for name in mixes]
        self._probability = mix_probability if self._mixes else 0.0

    def __call__(self, samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        """Return images (B, 3, S, S) float32, normalised, and targets: (B,) int64, or (B, K) if blended."""
        pictures = torch.stack([picture for picture, _ in samples])
        labels = torch.tensor([label for _, label in samples])
        batch = pictures.to(torch.float32).mul_(self._scale).sub_(self._offset)
        if self._probability > 0 and float(torch.rand(())) < self._probability:
            mix = self._mixes[int(torch.randint(len(self._mixes), ()))]
            batch, labels = mix(batch, labels)
        return batch, labels
