"""THE preprocessing contract: resize the short side to 256 (antialiased), crop the centre 224, scale, normalise.

Training, evaluation and inference all go through here or are tested to be equal to it. `prepare` makes the uint8
crop that a model file takes, the same as torchvision's `v2.Resize` and `v2.CenterCrop` except for rounding: in 256
real photos one value in a thousand differed by 1 of 255 levels, and two of 38 million by 2. `normalize` is the
numpy reference for the first step inside the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from landmarks.errors import ImageError, ModelError, SettingsError
from landmarks.imaging.decoding import DEFAULT_LIMITS, ImageLimits, Source, load_image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_SIDE = 1024
"""Largest accepted `resize`, so that a damaged model file cannot ask for all the memory."""

MAX_ASPECT = 100
"""Largest accepted aspect ratio: a longer image would not fit in memory after resizing."""


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a network; stored with the model.

    Attributes:
        resize: Short side after resizing, in pixels, 1 to `MAX_SIDE`.
        crop: Side of the centre crop, in pixels, 1 to `resize`.
        mean: Mean of each channel in R, G, B order, for values scaled to 0..1.
        std: Standard deviation of each channel, above 0.
        interpolation: Filter of the resize, always antialiased.
        fit: `crop` resizes the short side and crops the centre; `squash` resizes to a square of `crop` pixels,
            ignoring the aspect ratio.

    Raises:
        SettingsError: A value is out of range.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Literal["bilinear"] = "bilinear"
    fit: Literal["crop", "squash"] = "crop"

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIDE:
                raise SettingsError(f"{name} must be a whole number from 1 to {MAX_SIDE}, not {value!r}")
        if self.crop > self.resize:
            raise SettingsError(f"crop must be at most resize, which is {self.resize}, not {self.crop}")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if not (isinstance(value, tuple) and len(value) == 3 and all(map(_is_finite, value))):
                raise SettingsError(f"{name} must be three finite numbers, not {value!r}")
        if min(self.std) <= 0:
            raise SettingsError(f"std must be above 0, not {self.std!r}")
        if self.interpolation != "bilinear":
            raise SettingsError(f"interpolation must be 'bilinear', not {self.interpolation!r}")
        if self.fit not in {"crop", "squash"}:
            raise SettingsError(f"fit must be 'crop' or 'squash', not {self.fit!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the values as stored in `model.json`."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Create the preprocessing from the values of `to_dict`.

        Raises:
            ModelError: A value is missing, unknown or out of range.
        """
        if not isinstance(values, Mapping):
            raise ModelError(f"preprocessing must be a table of values, not {values!r}: export the model again")
        known = {field.name for field in fields(cls)}
        if set(values) | {"fit"} != known:  # older models lack it
            wrong = ", ".join(sorted((set(map(str, values)) | {"fit"}) ^ known))
            raise ModelError(f"preprocessing has missing or unknown entries ({wrong}): export the model again")
        listed: dict[str, Any] = dict(values)
        for name in ("mean", "std"):
            if isinstance(listed[name], list):
                listed[name] = tuple(listed[name])
        try:
            return cls(**listed)
        except SettingsError as error:
            raise ModelError(f"preprocessing is damaged, {error}: export the model again") from error


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def prepare(
    source: Source,
    preprocessing: Preprocessing,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> NDArray[np.uint8]:
    """Turn an image into the input array of a network, before scaling and normalising.

    Args:
        source: A file, the content of one, a decoded RGB image of shape (height, width, 3), or a Pillow image.
        preprocessing: Sizes of resize and crop.
        limits: Largest file and image to accept; not applied to a decoded image.

    Returns:
        A writable array of shape (crop, crop, 3).

    Raises:
        ImageError: The image cannot be read, or its aspect ratio is too large.
    """
    image = load_image(source, min_side=preprocessing.resize, limits=limits)
    return prepare_decoded(image, preprocessing, Path(source) if isinstance(source, str | Path) else None)


def prepare_decoded(
    image: Image.Image, preprocessing: Preprocessing, path: Path | None = None
) -> NDArray[np.uint8]:
    """Turn an image from `load_image` into the input array of a network; see `prepare`.

    Args:
        image: Upright RGB image, not smaller than the file's or `preprocessing.resize`.
        preprocessing: Sizes of resize and crop.
        path: The file, for errors.

    Raises:
        ImageError: The aspect ratio is too large.
    """
    if preprocessing.fit == "squash":
        require_aspect(image.size, path)
        square = image.resize((preprocessing.crop, preprocessing.crop), Image.Resampling.BILINEAR)
        return np.array(square)
    return center_crop(np.asarray(_resize(image, preprocessing.resize, path)), preprocessing.crop).copy()


def resize_short_side(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize with antialiasing so that the short side has `size` pixels; the long side is rounded down.

    Args:
        image: Shape (height, width, 3).
        size: New short side in pixels, at least 1.

    Raises:
        ImageError: The array is not an RGB image, or its aspect ratio is too large.
    """
    return np.array(_resize(load_image(image), size, None))


def center_crop(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Crop the centre square of an image; the result is a view.

    Args:
        image: Shape (height, width, 3), both sides at least `size`.
        size: Side of the square in pixels.

    Raises:
        ImageError: The image is smaller than the square.
    """
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise ImageError(None, f"{width} x {height} pixels are too few for a crop of {size}: resize it first")
    # Half pixels round to even, as in torchvision's CenterCrop.
    top, left = round((height - size) / 2), round((width - size) / 2)
    return image[top : top + size, left : left + size]


def normalize(batch: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Scale to 0..1 and normalise each channel, like the first step of an exported network.

    Args:
        batch: Shape (N, height, width, 3).
        preprocessing: Mean and standard deviation.

    Returns:
        A contiguous array of shape (N, 3, height, width).
    """
    mean = np.array(preprocessing.mean, dtype=np.float32)
    std = np.array(preprocessing.std, dtype=np.float32)
    scaled = (batch.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _resize(image: Image.Image, size: int, path: Path | None) -> Image.Image:
    # Resizing the crop box alone would be faster, but rounds about one value in 25 differently on noise.
    require_aspect(image.size, path)
    width, height = image.size
    short, long = min(width, height), max(width, height)
    new_long = int(size * long / short)
    new_size = (size, new_long) if width <= height else (new_long, size)
    return image.resize(new_size, Image.Resampling.BILINEAR)


def require_aspect(size: tuple[int, int], path: Path | None) -> None:
    """Raise an `ImageError` if an image of this width and height is too long to be resized."""
    width, height = size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            path, f"{width} x {height} pixels are more than {MAX_ASPECT} times as long as wide: crop it first"
        )
