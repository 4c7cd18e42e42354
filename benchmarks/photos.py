"""Generated photos for the speed benchmarks: natural texture, edges and grain, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZES = {"800 x 600": (800, 600), "12 MP": (4000, 3000)}


def make_photos(folder: Path, count: int, size: tuple[int, int], seed: int = 0) -> list[Path]:
    """Write JPEGs of quality 90, each another part of one large texture; existing ones are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    if all(path.exists() for path in paths):
        return paths
    rng = np.random.default_rng(seed)
    width, height = size
    canvas = texture((width * 3 // 2, height * 3 // 2), rng)
    for path in paths:
        top, left = int(rng.integers(height // 2)), int(rng.integers(width // 2))
        part = Image.fromarray(canvas[top : top + height, left : left + width])
        part.save(path.with_suffix(".part"), "JPEG", quality=90)
        path.with_suffix(".part").rename(path)
    return paths


def texture(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """An image of octaves of noise whose strength falls with their frequency, like that of photographs.

    Args:
        size: Width and height.
        rng: Source of the noise.
    """
    width, height = size
    light = np.full((height, width), 120, np.float32)
    octaves = int(np.log2(min(size))) - 1
    for octave in range(octaves):
        cells = (-(-height // 2 ** (octaves - octave)) + 1, -(-width // 2 ** (octaves - octave)) + 1)
        noise = Image.fromarray(rng.normal(0, 45 * 0.7**octave, cells).astype(np.float32))
        light += np.asarray(noise.resize(size, Image.Resampling.BICUBIC))
    for _ in range(25):  # facades: rectangles of windows, with hard edges
        left, top = int(rng.integers(width)), int(rng.integers(height))
        step = int(rng.integers(6, max(8, width // 30)))
        part = light[top : top + height // 4, left : left + width // 6]
        rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
        part += ((columns // step + rows // step) % 2) * np.float32(rng.normal(0, 40))
    tint = Image.fromarray(rng.normal(0, 25, (5, 7)).astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    colours = (np.asarray(tint), np.float32(0), -np.asarray(tint))
    grain = rng.standard_normal((height, width), np.float32) * 3
    return np.stack([(light + grain + colour).clip(0, 255).astype(np.uint8) for colour in colours], axis=2)
