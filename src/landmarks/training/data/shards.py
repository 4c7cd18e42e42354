"""Training images in tar files, read sequentially: for sets too large to list at every start.

```
SHARDS/
  index.json                    classes, shards, numbers of pictures
  shards/train-000000.tar ...   the training images, shuffled, in WebDataset's layout: NNN.jpg, NNN.cls
  train/CLASS/...               a small, even sample of them, for random access
  valid/CLASS/..., test/CLASS/...
  manifest.csv                  the sources of these images, where they are known
```

The layout is that of WebDataset, so its tools can read these files. Its reader is not used: it hands out whole
files, so processes get unequal numbers of images, and training on several devices deadlocks or repeats some. Here
the counts in the index determine exactly which images of which file belong to which process.
"""

from __future__ import annotations

import hashlib
import json
import random
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from landmarks.errors import DataError, ImageError
from landmarks.imaging.decoding import load_rgb
from landmarks.imaging.photos import SPLIT_NAMES, Split
from landmarks.training.data.cache import Channels
from landmarks.training.data.folders import DataFolder, samples_of, with_sources
from landmarks.training.data.listing import INDEX, ClassPictures, list_classes, read_sources
from landmarks.training.data.sampling import seed_of

FORMAT = 1
BUFFER = 1000
"""Size of the shuffle buffer, in images that are not yet decoded; it separates neighbours in a file."""


@dataclass(frozen=True)
class Shard:
    """A tar file and the number of images in it."""

    path: Path
    count: int


@dataclass(frozen=True)
class ShardSet:
    """Content of `index.json`.

    Attributes:
        root: The folder.
        classes: Class names.
        shards: The training images.
        class_counts: Number of training images per class.
        mean: Mean of the training images, per channel, in [0, 1].
        std: Their standard deviation, likewise.
        fingerprint: Hash of the index.
        pictures: Number of the images stored next to the shards, per split and class; empty for a set that an
            earlier version packed.
        sources: Number of training images of each source, "" for those of an unknown one; empty likewise.
    """

    root: Path
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    class_counts: tuple[int, ...]
    mean: Channels
    std: Channels
    fingerprint: str
    pictures: Mapping[Split, tuple[int, ...]]
    sources: Mapping[str, int]

    def __len__(self) -> int:
        return sum(shard.count for shard in self.shards)

    def require_shards(self) -> None:
        """Raise a `DataError` if a shard is missing."""
        lost = [shard.path for shard in self.shards if not shard.path.is_file()]
        if lost:
            raise DataError(
                f"{lost[0]}: {len(lost)} of {len(self.shards)} shards are missing: copy them again, or pack the "
                "pictures again"
            )

    def folder(self) -> DataFolder:
        """Return the images stored next to the shards; its `train` is the sample.

        Raises:
            DataError: Some are missing, or a folder is unreadable.
        """
        sources = read_sources(self.root)
        listed = {split: with_sources(_listed(self.root / split), sources, split) for split in SPLIT_NAMES}
        for split, counts in self.pictures.items():
            for name, count in zip(self.classes, counts, strict=True):
                there = len(listed[split].pictures.get(name, ()))
                if there < count:
                    raise DataError(
                        f"{self.root / split / name}: {there} of {count} pictures are there: copy the shards "
                        "again, or pack the pictures again"
                    )
        train, valid, test = (tuple(samples_of(one, self.classes)) for one in listed.values())
        notes = tuple(note for one in listed.values() for note in one.notes)
        skipped = tuple(line for one in listed.values() for line in one.skipped)
        return DataFolder(self.root, self.classes, train, valid, test, notes, skipped)


def _listed(folder: Path) -> ClassPictures:
    return list_classes(folder) if folder.is_dir() else ClassPictures(folder, {})


def read_shard_set(root: Path) -> ShardSet:
    """Read only `index.json`.

    Raises:
        DataError: It is damaged or from another version.
    """
    path = root / INDEX
    try:
        content = path.read_bytes()
        index = json.loads(content)
        if index["format"] != FORMAT:
            raise ValueError(f"format {index['format']}")
        shards = tuple(Shard(root / "shards" / name, int(count)) for name, count in index["shards"])
        classes = tuple(map(str, index["classes"]))
        pictures = {
            split: tuple(map(int, index["pictures"][split])) for split in SPLIT_NAMES if "pictures" in index
        }
        if any(len(counts) != len(classes) for counts in (index["class_counts"], *pictures.values())):
            raise ValueError("a count is missing")
        means, stds = ((float(r), float(g), float(b)) for r, g, b in (index["mean"], index["std"]))
        return ShardSet(
            root,
            classes,
            shards,
            tuple(map(int, index["class_counts"])),
            means,
            stds,
            hashlib.sha256(content).hexdigest()[:16],
            pictures,
            {name: int(count) for name, count in dict(index.get("sources", {})).items()},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not what landmarks pack wrote ({error}): pack the pictures again") from error


class _ShardError(DataError):
    """An error on reading shards, also from a loader process, of which torch passes on the traceback as a text."""

    def __init__(self, text: str) -> None:
        is_traceback = text.startswith("Caught ")
        super().__init__(text.rstrip().rpartition("\n")[2].partition(": ")[2] if is_traceback else text)


class ShardDataset(IterableDataset[tuple[Tensor, int]]):
    """The training images of one process, streamed.

    Every epoch has a new order of files and begins somewhere in it; the sequence of their images is divided into
    one run of whole batches per loader process, and each training process gets the same number of batches. As with
    a folder, an incomplete last batch is left out of an epoch, a different one each time.

    Args:
        source: The shards.
        transform: Maps an image (H, W, 3) uint8 to (3, S, S) uint8.
        batch_size: Images per batch over all training processes, a multiple of `world_size`.
        rank: Rank of this training process, from 0.
        world_size: Number of training processes.
        seed: Seed of the orders.

    Attributes:
        transform: As given; may be replaced between epochs.
        classes: Class names.
        class_counts: Number of training images of each class, over all processes.

    Raises:
        DataError: A shard is missing. One that is damaged is told when it is read.
    """

    def __init__(
        self,
        source: ShardSet,
        transform: Callable[[NDArray[np.uint8]], Tensor],
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
    ) -> None:
        source.require_shards()
        self.transform = transform
        self.classes = source.classes
        self.class_counts = source.class_counts
        self._shards = source.shards
        self._batches = len(source) // batch_size
        self._size = batch_size // world_size
        self._rank = rank
        self._seed = self._epoch_seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Draw the next order from the seed and `epoch`, the same in all processes."""
        self._epoch_seed = seed_of(self._seed, epoch)

    def __len__(self) -> int:
        return self._batches * self._size

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        start, count = self._run(number, workers)
        rng = random.Random(f"{self._epoch_seed}-{self._rank}-{number}")  # noqa: S311 - no secret
        shards, first = self._order()
        for picture in _shuffled(_pictures([*shards, *shards], first + start, count), rng):
            if not 0 <= picture.label < len(self.classes):
                raise _ShardError(f"{picture.place}: there is no class {picture.label}: pack the pictures again")
            yield self.transform(_decode(picture)), picture.label

    def _order(self) -> tuple[list[Shard], int]:
        """Return the files in the order of the epoch, and the number of the image to begin with."""
        shards, rng = list(self._shards), random.Random(self._epoch_seed)  # noqa: S311 - no secret
        rng.shuffle(shards)
        # Begun at the first, the sequence of a single file would leave out the same images in every epoch.
        return shards, rng.randrange(sum(shard.count for shard in shards))

    def _run(self, number: int, workers: int) -> tuple[int, int]:
        """Return the start of a loader process's run in the sequence of the epoch, and its length."""
        lengths = [(self._batches // workers + (w < self._batches % workers)) * self._size for w in range(workers)]
        return self._rank * len(self) + sum(lengths[:number]), lengths[number]


@dataclass(frozen=True, slots=True)
class _Picture:
    place: str  # for messages
    content: bytes
    label: int


def _pictures(shards: Sequence[Shard], start: int, count: int) -> Iterator[_Picture]:
    """Yield `count` images of the shards from the position `start` on; shards before it are not opened."""
    for shard in shards:
        if count <= 0:
            return
        if start < shard.count:
            taken = min(shard.count - start, count)
            yield from _of_shard(shard, start, taken)
            count -= taken
        start = max(0, start - shard.count)


def _of_shard(shard: Shard, start: int, count: int) -> Iterator[_Picture]:
    number = start
    try:
        with tarfile.open(shard.path, "r:") as archive:
            # Two members per image: the image and its class. Only the headers of skipped ones are read.
            members = islice(archive, 2 * start, 2 * (start + count))
            for picture, label in zip(members, members, strict=True):
                content, text = archive.extractfile(picture), archive.extractfile(label)
                if content is None or text is None:
                    raise _ShardError(f"{shard.path}: holds something other than pictures: pack them again")
                yield _Picture(f"{shard.path}, {picture.name}", content.read(), int(text.read()))
                number += 1
        if number < start + count:  # a file that ends between two members is no error to tarfile
            raise ValueError(f"{number} of {shard.count} pictures are in it")
    except (tarfile.TarError, OSError, ValueError) as error:
        raise _ShardError(f"{shard.path}: damaged or missing ({error}): pack the pictures again") from error


def _shuffled(pictures: Iterator[_Picture], rng: random.Random) -> Iterator[_Picture]:
    buffer = list(islice(pictures, BUFFER))
    for picture in pictures:
        position = rng.randrange(len(buffer))
        yield buffer[position]
        buffer[position] = picture
    rng.shuffle(buffer)
    yield from buffer


def _decode(picture: _Picture) -> NDArray[np.uint8]:
    try:
        return load_rgb(picture.content)
    except ImageError as error:
        raise _ShardError(f"{picture.place}: unreadable ({error.reason}): pack the pictures again") from error


def index_of(
    classes: Sequence[str],
    shards: Sequence[tuple[str, int]],
    counts: Sequence[int],
    pictures: Mapping[Split, Sequence[int]],
) -> dict[str, Any]:
    """Return the part of `index.json` that describes the shards and the images next to them."""
    described = {"format": FORMAT, "classes": list(classes), "shards": list(shards), "class_counts": list(counts)}
    return {**described, "pictures": {split: list(numbers) for split, numbers in pictures.items()}}
