"""Packs an image folder into shards: reads each image once, in shuffled order, and checks it."""

from __future__ import annotations

import io
import os
import random
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from landmarks.errors import DataError, ImageError
from landmarks.files.atomic import atomic_path, new_folders, storage_errors, write_bytes, write_json
from landmarks.files.csv_lines import write_csv
from landmarks.files.locks import locked
from landmarks.imaging.decoding import load_rgb, read_content
from landmarks.imaging.photos import SPLIT_NAMES, Split, photo_rules
from landmarks.imaging.preprocessing import Preprocessing
from landmarks.imaging.thumbnails import as_jpeg
from landmarks.training.config.jobs import PackSettings
from landmarks.training.data.cache import PixelSums, Progress, fitted
from landmarks.training.data.folders import DataFolder, Sample, limit_evenly, read_data_folder, require_outside
from landmarks.training.data.listing import INDEX, MANIFEST, photo_suffix
from landmarks.training.data.shards import ShardSet, index_of, read_shard_set

QUALITY = 95
"""JPEG quality of downscaled images; the others are packed as they are."""

_TEMPORARY = ".packing"  # in the folder of the shards, until they are complete


@dataclass(frozen=True)
class Packed:
    """The result of packing.

    Attributes:
        shards: The shards.
        broken: Unreadable images, as `path in the data set: reason`.
        folder: The image folder, with what was left out of it.
    """

    shards: ShardSet
    broken: tuple[str, ...]
    folder: DataFolder


def pack(
    data: Path, out: Path, settings: PackSettings, *, cache: Path | None = None, progress: Progress | None = None
) -> Packed:
    """Pack an image folder.

    Args:
        data: See `landmarks.training.data.folders.read_data_folder`.
        out: The folder to make; one that is there must be empty.
        settings: Split, size of the shards, seed.
        cache: Folder in which the pictures of Parquet files are unpacked, or None for the user's cache folder.
        progress: Called after each group of images.

    Raises:
        DataError: The folder does not hold what training needs, `out` is taken or in a class folder, or another
            process packs into it.
        StorageError: The shards cannot be written.
    """
    _require_free(out)
    require_outside(data, out, "out")
    folder = read_data_folder(data, valid_size=settings.valid_size, seed=settings.seed, cache=cache)
    _require_folder_names(folder)
    with new_folders(out), _alone(out):
        _require_free(out)  # another process may just have finished
        temporary = out / _TEMPORARY
        shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
        try:
            broken = _pack(folder, temporary, settings, progress)
            with storage_errors(out):
                # The index last: without it there is no set.
                for name in ("shards", *SPLIT_NAMES, MANIFEST, INDEX):
                    if (temporary / name).exists():  # sources are not always known
                        (temporary / name).rename(out / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Packed(read_shard_set(out), tuple(broken), folder)


def _require_free(out: Path) -> None:
    with storage_errors(out):
        if out.exists() and not (out.is_dir() and all(one.name.startswith(_TEMPORARY) for one in out.iterdir())):
            raise DataError(f"{out}: exists already: choose another folder for the shards")


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other processes from packing into the same folder."""
    lock = out / f"{_TEMPORARY}.lock"
    busy = DataError(f"{out}: another process is packing into it: wait for it, or choose another folder")
    with locked(lock, busy=busy):
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()


def _require_folder_names(folder: DataFolder) -> None:
    """Refuse classes of a table of which no folder can be made, or none that is read again."""
    for name in folder.classes:
        if "/" in name or "\0" in name or len(os.fsencode(name)) > 255:
            raise DataError(
                f"{folder.root}: class {name!r} cannot be the name of a folder: rename it in the table"
            )
        reason = photo_rules().skips(name, is_folder=True)
        if reason is not None:
            raise DataError(
                f"{folder.root}: class {name!r} cannot be packed, as folders of this name are skipped ({reason}): "
                "rename it in the table"
            )


def _pack(folder: DataFolder, out: Path, settings: PackSettings, progress: Progress | None) -> list[str]:
    """Pack into a folder; returns the unreadable images."""
    train = list(folder.train)
    random.Random(settings.seed).shuffle(train)  # noqa: S311 - no secret
    packing = _Packing(folder, progress)
    kept: list[Sample] = []
    shards: list[tuple[str, int]] = []
    readable = packing.readable(train)
    while packed := _write_shard(out / "shards" / f"train-{len(shards):06d}.tar", readable, settings.shard_size):
        shards.append((f"train-{len(shards):06d}.tar", len(packed)))
        kept += packed
    replace(folder, train=tuple(kept)).require_readable()
    mean, std = packing.sums.statistics()
    sample = limit_evenly(kept, settings.sample, settings.seed)
    stored: dict[Split, Sequence[Sample]] = {"train": sample, "valid": folder.valid, "test": folder.test}
    written = {
        split: _write_split(out / split, folder.classes, packing.readable(samples))
        for split, samples in stored.items()
    }
    replace(folder, valid=tuple(written["valid"]), test=tuple(written["test"])).require_readable()
    _write_sources(out / MANIFEST, written, folder.classes)
    numbers = {split: _of_each_class(samples, folder.classes) for split, samples in written.items()}
    index = index_of(folder.classes, shards, _of_each_class(kept, folder.classes), numbers)
    sources = Counter(sample.source for sample in kept)
    write_json(out / INDEX, {**index, "mean": mean, "std": std, "sources": sources, "broken": packing.broken})
    return packing.broken


def _of_each_class(samples: Iterable[Sample], classes: Sequence[str]) -> list[int]:
    counts = Counter(sample.label for sample in samples)
    return [counts[label] for label in range(len(classes))]


def _write_split(folder: Path, classes: Sequence[str], pictures: Iterator[tuple[Sample, bytes]]) -> list[Sample]:
    """Write images as files; returns them."""
    written = list[Sample]()
    for number, (sample, content) in enumerate(pictures):
        # Numbered, because two images of a class may differ in their suffix alone. A name has 255 bytes at most.
        stem = sample.path.stem.encode("utf-8", "ignore")[:100].decode("utf-8", "ignore")
        path = folder / classes[sample.label] / f"{number:08d}-{stem}{_suffix(sample, content)}"
        write_bytes(path, content)
        written.append(replace(sample, path=path))
    return written


def _write_sources(path: Path, written: Mapping[Split, Sequence[Sample]], classes: Sequence[str]) -> None:
    """Write the manifest of the images that are stored as files, if a source is known."""
    rows = [
        (split, classes[sample.label], sample.path.name, sample.source)
        for split, samples in written.items()
        for sample in samples
        if sample.source
    ]
    if rows:
        write_csv(path, ("split", "class", "file", "source"), rows)


def _write_shard(path: Path, pictures: Iterator[tuple[Sample, bytes]], size: int) -> list[Sample]:
    """Write up to `size` images as one shard, or none if there are no more."""
    first = next(pictures, None)
    written: list[Sample] = []
    if first is None:
        return written
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        current: tuple[Sample, bytes] | None = first
        while current is not None:
            sample, content = current
            number = f"{len(written):08d}"
            for name, part in (
                (number + _suffix(sample, content), content),
                (f"{number}.cls", b"%d" % sample.label),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(part)
                archive.addfile(member, io.BytesIO(part))
            written.append(sample)
            current = next(pictures, None) if len(written) < size else None
    return written


class _Packing:
    """Reads images, and adds up their pixels the first time it reads a split."""

    def __init__(self, folder: DataFolder, progress: Progress | None) -> None:
        self._total = len(folder.train) + len(folder.valid) + len(folder.test)
        self._named = folder.name_of
        self._progress = progress
        self._done = 0
        self.sums = PixelSums()
        self.broken: list[str] = []

    def readable(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, bytes]]:
        """Yield the readable images, as files with a short side of at most 256 pixels."""
        side = Preprocessing().resize
        for sample in samples:
            self._tell()
            try:
                content = read_content(sample.path)
                whole = load_rgb(content, min_side=side)
                pixels = fitted(whole, side)
                if pixels is not whole:
                    content = as_jpeg(Image.fromarray(pixels), QUALITY)
            except ImageError as error:
                self.broken.append(f"{self._named(sample.path)}: {error.reason}")
                continue
            self.sums.add(pixels)
            yield sample, content

    def _tell(self) -> None:
        self._done += 1
        if self._progress and self._done <= self._total and (self._done % 50 == 0 or self._done == self._total):
            self._progress(self._done, self._total)


def _suffix(sample: Sample, content: bytes) -> str:
    return ".jpg" if content.startswith(b"\xff\xd8\xff") else photo_suffix(sample.path.name, content)
