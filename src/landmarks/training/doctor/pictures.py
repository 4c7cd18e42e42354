"""Properties of a file without its pixels: size, bytes, JPEG quality; and whether it is complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmarks.imaging.decoding import photo_header
from landmarks.training.data.cache import BrokenPicture, PictureCache

FLAT = 2.0
"""An image whose grey values deviate less than this, of 255, is flat."""

_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"

# The sum of the example luminance table in the JPEG standard (ITU-T T.81, table K.1), which common encoders scale
# by a quality from 1 to 100.
_STANDARD_SUM = 3679


@dataclass(frozen=True)
class Picture:
    """One image of a data set with the data from its header.

    Attributes:
        path: The file.
        label: Index of its class.
        split: `train`, `valid`, `test`, or "" if the data set is not split.
        source: Its source, or "" without a manifest.
        width: Width in pixels, before any rotation by EXIF; 0 if the header is unreadable.
        height: Height in pixels.
        size: Size of the file in bytes; 0 if there is none.
        quality: JPEG quality from 1 to 100, estimated from its quantisation table, or 0 for other formats.
    """

    path: Path
    label: int
    split: str
    source: str
    width: int
    height: int
    size: int
    quality: float

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


@dataclass(frozen=True, eq=False)
class Measured:
    """The N readable images of a data set with K classes, and their measurements.

    Attributes:
        classes: K names.
        pictures: N images.
        hashes: (N,) difference hashes.
        embeddings: (N, D) of unit length.
        groups: Positions of near-duplicates, two or more per group.
        probabilities: (N, K), out-of-fold probabilities, or None if there are too few images.
    """

    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    hashes: NDArray[np.uint64]
    embeddings: NDArray[np.float32]
    groups: tuple[tuple[int, ...], ...]
    probabilities: NDArray[np.float64] | None

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each image, (N,) in [0, K)."""
        return np.array([picture.label for picture in self.pictures], dtype=np.int64)


def read_header(path: Path) -> tuple[int, int, int, float]:
    """Return width, height, bytes and JPEG quality of a file, 0 for unknown values."""
    try:
        size = path.stat().st_size
    except OSError:
        return 0, 0, 0, 0.0
    with photo_header(path) as image:
        if image is None:
            return 0, 0, size, 0.0
        tables = getattr(image, "quantization", None) or {}
        return *image.size, size, jpeg_quality(tables[0]) if 0 in tables else 0.0


def jpeg_quality(luminance: Sequence[int]) -> float:
    """Return the quality, 1 to 100, whose luminance table has the closest sum to this one.

    It inverts the scaling of the Independent JPEG Group's library (`jpeg_quality_scaling`); tables made by another
    encoder's rules get the quality of the same coarseness. Below 25 it is up to 5 too high, because steps are
    capped at 255.

    Args:
        luminance: The 64 steps of the first quantisation table, in any order.
    """
    scale = 100 * sum(luminance) / _STANDARD_SUM
    quality = 5000 / scale if scale > 100 else (200 - scale) / 2
    return min(100.0, max(1.0, quality))


def find_broken(paths: Sequence[Path], cache: PictureCache) -> list[BrokenPicture]:
    """Return the images that are unreadable, truncated, or one flat colour.

    Args:
        paths: The images of the cache.
        cache: Their decoded images.
    """
    broken = list(cache.broken)
    unreadable = {one.path for one in broken}
    for path in paths:
        if path in unreadable:
            continue
        if _ends_early(path):
            broken.append(BrokenPicture(path, "the picture in the file has no end: copy it again from its source"))
        elif _is_flat(cache.picture(path)):
            broken.append(BrokenPicture(path, "it shows one flat colour"))
    return broken


def _ends_early(path: Path) -> bool:
    """Return whether a JPEG lacks the end of its last scan, like a download whose rest was filled with zeros.

    Decoders draw what is there and leave the rest grey. Inside a scan no two bytes look like a marker, and
    anything that cameras append after the end (a preview, a video) has an end of its own.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return False
    if not content.startswith(b"\xff\xd8"):
        return False
    return content.rfind(_END_OF_IMAGE) < content.rfind(_START_OF_SCAN)


def _is_flat(picture: NDArray[np.uint8]) -> bool:
    return bool(picture.reshape(-1, 3).std(axis=0).max() < FLAT)
