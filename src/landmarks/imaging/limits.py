"""Limits on photos, and what a photo costs to decode: memory, which depends on the format and not on pixels alone.

A JPEG of 200 megapixels that is decoded at an eighth of its size takes less memory than a PNG of 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from landmarks.errors import SettingsError

if TYPE_CHECKING:
    from PIL import Image

_BYTES = 8  # per pixel of an ordinary RGB image: decoded, and turned upright or converted
_MODES = {"RGBA": 16, "LA": 16, "PA": 16, "I;16": 14, "I": 17, "F": 17}
_FORMATS = {"WebP": 16, "HEIC": 10, "AVIF": 11, "JPEG 2000": 20, "JPEG XL": 10}
"""Bytes per pixel at the peak of decoding, where it is not `_BYTES`; measured on noise of 4 megapixels."""


@dataclass(frozen=True)
class ImageLimits:
    """Limits on the size of an image; a larger one is refused before any work is done.

    Attributes:
        max_bytes: Maximum file size, in bytes, at least 1. Checked before reading.
        max_pixels: Maximum number of pixels, width times height, at least 1. Checked before decoding; it bounds
            the time.
        max_decoded_pixels: Maximum number of pixels in memory while decoding, at least 1; it bounds the memory, 8
            bytes each. Formats that need more count more, and a JPEG counts at the reduced size of its decoding.

    Raises:
        SettingsError: A limit is below 1.
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 500_000_000
    max_decoded_pixels: int = 120_000_000

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_decoded_pixels"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def max_memory(self) -> int:
        """Maximum memory for decoding, in bytes."""
        return self.max_decoded_pixels * _BYTES

    @classmethod
    def of_megapixels(cls, megapixels: float) -> ImageLimits:
        """Return limits that accept ordinary images of so many megapixels in memory, and none that need more."""
        usual, pixels = cls(), max(1, int(megapixels * 1e6))
        return cls(max(usual.max_bytes, 4 * pixels), max(usual.max_pixels, pixels), pixels)


DEFAULT_LIMITS = ImageLimits()
"""256 MiB, and 120 megapixels in memory: about 920 MiB."""


def memory_cost(image: Image.Image, kind: str, full_size: tuple[int, int]) -> int:
    """Return about how many bytes it takes to decode an image.

    Args:
        image: The image, not yet loaded, at the size at which it will be decoded.
        kind: Name of its format.
        full_size: Width and height in the file.
    """
    width, height = image.size
    per_pixel = max(_FORMATS.get(kind, _BYTES), _MODES.get(image.mode, _BYTES))
    if per_pixel < 16 and image.has_transparency_data:
        per_pixel = 16
    cost = width * height * per_pixel
    if image.info.get("progressive"):
        # All coefficients of a progressive JPEG are in memory before its first pixel: 2 bytes each.
        cost += full_size[0] * full_size[1] * 2 * _samples_per_pixel(image)
    return cost


def _samples_per_pixel(image: Image.Image) -> int:
    """Return the number of samples per pixel of a JPEG, rounded up: 2 where colour has fewer, else 3 or 4."""
    layers = getattr(image, "layer", None) or []
    sampling: list[int] = [one[1] * one[2] for one in layers]
    if not sampling:
        return 3
    return -(-sum(sampling) // max(sampling))
