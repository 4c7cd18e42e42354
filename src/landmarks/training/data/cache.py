"""Decoded images in one memory-mapped file, so that only the first epoch of the first run decodes JPEG.

The file holds each image as the preprocessing contract resizes it (short side at most 256 pixels, never
enlarged), one after another; an index next to it has their positions and the files that are unreadable. The
name of both is a hash of the images' resolved paths, sizes and modification times, so a changed image makes a new
cache and an old one is never read by mistake.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmarks.errors import DataError, ImageError
from landmarks.files.atomic import atomic_path, remove_temporaries, write_json
from landmarks.imaging.decoding import load_rgb
from landmarks.imaging.preprocessing import MAX_ASPECT, resize_short_side
from landmarks.tagging.workers import cores

FORMAT = 3
Channels = tuple[float, float, float]
"""One value per channel, in R, G, B order."""

_DAY = 24 * 3600.0

Progress = Callable[[int, int], None]
"""Called with (images done, total images)."""


@dataclass(frozen=True)
class BrokenPicture:
    """An unreadable image, and why."""

    path: Path
    reason: str


class PictureCache:
    """Read access to the decoded images.

    Args:
        file: The decoded images.
        paths: The images of the cache, in order.
        index: Which of them are in the file, their shapes, and why the others are not; by position, because the
            same image may have several paths (relative, absolute).

    Attributes:
        broken: The unreadable images; they are not in the cache.
    """

    def __init__(self, file: Path, paths: Sequence[Path], index: dict[str, Any]) -> None:
        self._file = file
        self._positions = {paths[asked]: position for position, asked in enumerate(index["kept"])}
        self._shapes = np.asarray(index["shapes"], dtype=np.int64).reshape(-1, 2)
        sizes = self._shapes[:, 0] * self._shapes[:, 1] * 3
        self._ends = np.cumsum(sizes)
        self._pixels: NDArray[np.uint8] | None = None
        self.broken = tuple(BrokenPicture(paths[asked], reason) for asked, reason in index["broken"])

    def __len__(self) -> int:
        return len(self._shapes)

    @property
    def size(self) -> int:
        """Size of the decoded images in the file, in bytes."""
        return int(self._ends[-1]) if len(self) else 0

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be pickled as a copy of the whole file; each loader process opens its own.
        return {**self.__dict__, "_pixels": None}

    def picture(self, path: Path) -> NDArray[np.uint8]:
        """Return the image of `path` as a uint8 array (H, W, 3) that shares memory with the file.

        Raises:
            KeyError: The image is not in this cache.
        """
        if self._pixels is None:
            # Copy on write: torch needs writable memory, and the file must never change.
            self._pixels = np.memmap(self._file, dtype=np.uint8, mode="c")
        position = self._positions[path]
        height, width = self._shapes[position]
        end = self._ends[position]
        return self._pixels[end - height * width * 3 : end].reshape(height, width, 3)


def build_cache(
    paths: Sequence[Path], folder: Path, *, side: int = 256, progress: Progress | None = None
) -> PictureCache:
    """Open the cache of these images, decoding them first if there is none yet.

    Args:
        paths: The images.
        folder: Folder of caches; created if missing.
        side: Short side in pixels to which larger images are downscaled.
        progress: Called after each group of images.

    Returns:
        The cache; unreadable images are listed in `broken`.

    Raises:
        DataError: None of the images can be read.
        StorageError: The cache cannot be written.
    """
    key = _key(paths, side)
    file, index_file = folder / f"pictures-{key}.bin", folder / f"pictures-{key}.json"
    cache = _open_cache(file, paths, index_file)
    if cache is None or _are_mended(cache.broken, side):
        remove_temporaries(folder, unchanged_for=_DAY)
        cache = PictureCache(file, paths, _write_cache(paths, file, index_file, side, progress))
    if len(cache) == 0:
        first = f" ({cache.broken[0].path}: {cache.broken[0].reason})" if cache.broken else ""
        raise DataError(f"none of the {len(paths)} pictures can be read{first}")
    return cache


def channel_statistics(cache: PictureCache, paths: Sequence[Path], folder: Path) -> tuple[Channels, Channels]:
    """Return mean and standard deviation of each channel over all pixels of `paths`, in [0, 1].

    They are computed once and cached next to the images.
    """
    file = folder / f"statistics-{_key(paths, side=0)}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # missing or damaged: computed again
        stored = json.loads(file.read_text(encoding="utf-8"))
        return _channels(stored["mean"]), _channels(stored["std"])
    sums = PixelSums()
    for path in paths:
        sums.add(cache.picture(path))
    mean, std = sums.statistics()
    write_json(file, {"mean": mean, "std": std})
    return mean, std


class PixelSums:
    """The sums of pixels from which their mean and deviation follow."""

    def __init__(self) -> None:
        self._count, self._sums, self._squares = 0, np.zeros(3), np.zeros(3)

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Add the pixels of an image (H, W, 3)."""
        pixels = picture.reshape(-1, 3).astype(np.float32) / 255.0
        self._count += len(pixels)
        self._sums += pixels.sum(axis=0, dtype=np.float64)
        self._squares += np.square(pixels).sum(axis=0, dtype=np.float64)

    def statistics(self) -> tuple[Channels, Channels]:
        """Return mean and standard deviation of each channel over all pixels added, in [0, 1]."""
        mean = self._sums / self._count
        # A data set of one flat colour has no deviation; avoid dividing by zero.
        std = np.sqrt(np.maximum(self._squares / self._count - mean**2, 1e-6))
        return _channels(mean.tolist()), _channels(std.tolist())


def _channels(values: Sequence[float]) -> Channels:
    red, green, blue = (round(value, 6) for value in values)
    return red, green, blue


def _open_cache(file: Path, paths: Sequence[Path], index_file: Path) -> PictureCache | None:
    """Open a cache, or return None if there is none or it is damaged."""
    try:
        cache = PictureCache(file, paths, json.loads(index_file.read_text(encoding="utf-8")))
        return cache if file.stat().st_size == max(1, cache.size) else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _are_mended(broken: Sequence[BrokenPicture], side: int) -> bool:
    """Return whether some can be read by now: rights, a drive or memory may have come, with the same file."""
    return any(not isinstance(found, str) for found in _decode([one.path for one in broken], side))


def _write_cache(
    paths: Sequence[Path], file: Path, index_file: Path, side: int, progress: Progress | None
) -> dict[str, Any]:
    kept: list[int] = []
    shapes: list[tuple[int, int]] = []
    broken: list[tuple[int, str]] = []
    with atomic_path(file) as temporary, temporary.open("wb") as out:
        for done, result in enumerate(_decode(paths, side), start=1):
            if isinstance(result, str):
                broken.append((done - 1, result))
            else:
                out.write(result.tobytes())
                kept.append(done - 1)
                shapes.append((result.shape[0], result.shape[1]))
            if progress and (done % 50 == 0 or done == len(paths)):
                progress(done, len(paths))
        if not kept:
            out.write(b"\0")  # an empty file cannot be mapped
    index = {"format": FORMAT, "kept": kept, "shapes": shapes, "broken": broken}
    write_json(index_file, index)
    return index


def _decode(paths: Sequence[Path], side: int) -> Iterator[NDArray[np.uint8] | str]:
    def decode(path: Path) -> NDArray[np.uint8] | str:
        try:
            return fitted(load_rgb(path, min_side=side), side)
        except ImageError as error:
            return error.reason

    # Groups, so that decoded images never pile up in memory ahead of the writer.
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(paths), 64):
            group = paths[start : start + 64]
            yield from pool.map(decode, group)


def fitted(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return an image with a short side of at most `side` pixels, itself if it is small enough.

    Raises:
        ImageError: Its aspect ratio is too large, which is refused here, not in the middle of training.
    """
    short, long = sorted(pixels.shape[:2])
    return resize_short_side(pixels, side) if short > side or long > MAX_ASPECT * short else pixels


def resolved(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the absolute path of each file, however it is spelt (`../x`, a link, `/a/x`)."""
    folders: dict[Path, str] = {}
    for path in paths:
        if path.parent not in folders:
            folders[path.parent] = os.path.realpath(path.parent)
        place = f"{folders[path.parent]}/{path.name}"
        yield os.path.realpath(place) if path.is_symlink() else place


def _key(paths: Sequence[Path], side: int) -> str:
    digest = hashlib.sha256(f"{FORMAT} {side}\n".encode())
    for path, place in zip(paths, resolved(paths), strict=True):
        try:
            status = path.stat()
            state = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:
            state = "missing"  # a broken link; the decoder reports why it is unreadable
        digest.update(f"{place}\0{state}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:20]
