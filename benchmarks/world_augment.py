"""Training pictures of `world`, seen as another camera, another web site and another day would show them.

The collections differ in size, blur and JPEG quality, and nearly every landmark has one collection. So each crop
is given a new resolution, blur and quality before the network sees it; colours, light and what stands in front
change too. benchmarks/results/open_world.md shows how far the collection can still be told afterwards.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

cv2.setNumThreads(0)

Picture = NDArray[np.uint8]
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def augment(picture: Picture, rng: np.random.Generator, size: int, *, smallest: float = 0.3) -> Picture:
    """Return one random view (size, size, 3) of an RGB picture (H, W, 3) whose short side is 256.

    Args:
        picture: Left as it is.
        rng: All chance comes from it.
        size: Side of the view in pixels.
        smallest: Smallest share of the area that a crop keeps.
    """
    crop = _crop(picture, rng, smallest)
    height, width = crop.shape[:2]
    if rng.random() < 0.25:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-12, 12), 1.1)
        crop = cv2.warpAffine(crop, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    view = _as_one_file(_quality(crop, rng), rng, size)
    if rng.random() < 0.5:
        view = view[:, ::-1]
    coloured = np.clip(_light(view.astype(np.float32), rng), 0, 255)
    if rng.random() < 0.25:
        _cover(coloured, rng)
    return coloured.astype(np.uint8)


def _crop(picture: Picture, rng: np.random.Generator, smallest: float) -> Picture:
    height, width = picture.shape[:2]
    for _ in range(10):
        area = height * width * rng.uniform(smallest, 1)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            break
    else:
        w = h = min(width, height)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    return picture[top : top + h, left : left + w]


def _quality(crop: Picture, rng: np.random.Generator) -> Picture:
    """Draw resolution, blur and JPEG quality anew: a file as from a phone, an old web page or a thumbnail."""
    height, width = crop.shape[:2]
    if rng.random() < 0.7:
        scale = math.exp(rng.uniform(math.log(72), math.log(224))) / 256
        smaller = max(24, round(width * scale)), max(24, round(height * scale))
        crop = cv2.resize(crop, smaller, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.15:
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.75:
        flags = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))]
        _, encoded = cv2.imencode(".jpg", crop[..., ::-1], flags)
        crop = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    return crop


def _as_one_file(crop: Picture, rng: np.random.Generator, size: int) -> Picture:
    if min(crop.shape[:2]) > size:
        filtering = cv2.INTER_AREA
    else:
        filtering = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC
    resized: Picture = cv2.resize(crop, (size, size), interpolation=filtering)
    return resized


def _light(view: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    if rng.random() >= 0.8:
        return view
    brightness, contrast = 1 + rng.uniform(-0.4, 0.4), 1 + rng.uniform(-0.4, 0.4)
    saturation = 1 + rng.uniform(-0.5, 0.5)
    grey = view @ _GREY
    if rng.random() < 0.06:
        saturation = 0
    view = grey[..., None] * (1 - saturation) + view * saturation
    mean = grey.mean()
    view = (mean + (view - mean) * contrast) * brightness
    if rng.random() < 0.3:  # another white balance
        view = view * (1 + rng.uniform(-0.12, 0.12, 3).astype(np.float32))
    if rng.random() < 0.06:  # night
        view = 255 * np.clip(view / 255, 0, 1) ** rng.uniform(1.6, 2.6)
    return view


def _cover(view: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Put something in front."""
    size = len(view)
    height, width = int(size * rng.uniform(0.15, 0.5)), int(size * rng.uniform(0.1, 0.4))
    top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    view[top : top + height, left : left + width] = rng.uniform(0, 255, 3)
