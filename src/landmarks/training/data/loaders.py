"""Builds the training, validation and test loaders of an image folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from landmarks.errors import DataError, SettingsError
from landmarks.files.state import user_cache
from landmarks.imaging.preprocessing import Preprocessing, center_crop, resize_short_side
from landmarks.training.config.settings import AugmentSettings, DataSettings, Sampler
from landmarks.training.data.augment import Collate, TrainTransform
from landmarks.training.data.cache import (
    BrokenPicture,
    PictureCache,
    Progress,
    build_cache,
    channel_statistics,
)
from landmarks.training.data.folders import DataFolder, Sample, read_data_folder
from landmarks.training.data.listing import is_shard_set
from landmarks.training.data.sampling import (
    DistributedBatchSampler,
    DistributedEvalSampler,
    local_batch_size,
    sampling_weights,
)
from landmarks.training.data.shards import ShardDataset, ShardSet, read_shard_set
from landmarks.training.reports.class_names import display_names
from landmarks.training.reports.plots import sample_batch, save_figure

Loader = DataLoader[Any]
"""Yields batches of (images or embeddings, targets)."""


class PictureDataset(Dataset[tuple[Tensor, int]]):
    """Images of one split, from the cache, through a transform.

    Args:
        cache: The decoded images.
        samples: The split.
        transform: Maps an image (H, W, 3) uint8 to (3, S, S) uint8.
        classes: Names of the labels.
    """

    def __init__(
        self,
        cache: PictureCache,
        samples: Sequence[Sample],
        transform: Callable[[NDArray[np.uint8]], Tensor],
        classes: tuple[str, ...],
    ) -> None:
        self.cache = cache
        self.samples = tuple(samples)
        self.transform = transform
        self.classes = classes

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of images of each class."""
        counts = Counter(sample.label for sample in self.samples)
        return tuple(counts[label] for label in range(len(self.classes)))

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        sample = self.samples[position]
        return self.transform(self.cache.picture(sample.path)), sample.label


@dataclass(frozen=True)
class EvalTransform:
    """The preprocessing contract for a cached image: resize, centre crop."""

    preprocessing: Preprocessing

    def __call__(self, picture: NDArray[np.uint8]) -> Tensor:
        """Return the uint8 crop (3, crop, crop) of an image (H, W, 3)."""
        return torch.from_numpy(self.crop(picture)).permute(2, 0, 1).contiguous()

    def crop(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the crop as (crop, crop, 3)."""
        resized = resize_short_side(picture, self.preprocessing.resize)
        return np.ascontiguousarray(center_crop(resized, self.preprocessing.crop))


@dataclass(frozen=True)
class Data:
    """A prepared image folder: split, decoded, measured.

    Attributes:
        folder: Classes and splits, without the unreadable images.
        cache: The decoded images of all splits.
        cache_folder: Folder of the cache.
        broken: The unreadable images, with the reason.
        preprocessing: The contract, with the mean and deviation of the training images.
        shards: Where the training images are, if not in the folder: its `train` is then a sample of them.
    """

    folder: DataFolder
    cache: PictureCache
    cache_folder: Path
    broken: tuple[BrokenPicture, ...]
    preprocessing: Preprocessing
    shards: ShardSet | None = None

    @property
    def train_size(self) -> int:
        """Number of training images."""
        return len(self.folder.train) if self.shards is None else len(self.shards)

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of training images per class."""
        if self.shards is not None:
            return dict(zip(self.folder.classes, self.shards.class_counts, strict=True))
        counts = Counter(sample.label for sample in self.folder.train)
        return {name: counts[label] for label, name in enumerate(self.folder.classes)}

    @property
    def sources(self) -> Counter[str]:
        """Number of training images of each source, "" for those of an unknown one."""
        packed = self.shards.sources if self.shards is not None else {}
        return Counter(packed or (sample.source for sample in self.folder.train))

    @property
    def fingerprint(self) -> str:
        """Hash of which images are in which split with which class."""
        own = self.folder.fingerprint()
        return own if self.shards is None else f"{own}-{self.shards.fingerprint}"


def prepare_data(
    root: Path, settings: DataSettings, *, cache: Path | None = None, progress: Progress | None = None
) -> Data:
    """Read, check, split and decode an image folder or table and compute its mean and deviation.

    Of shards only the index and the images next to them are read.

    Args:
        root: See `landmarks.training.data.folders.read_data_folder`; or a folder made by `landmarks pack`.
        settings: Split, limit and seed.
        cache: Folder for decoded images, or None for the user's cache folder.
        progress: Called with the number of decoded images.

    Raises:
        DataError: The folder does not hold what training needs.
        StorageError: The cache cannot be written.
    """
    cache_folder = cache or user_cache()
    if is_shard_set(root):
        _check_streamed(settings)
        shards = read_shard_set(root)
        folder = shards.folder()
        if settings.valid_size != DataSettings.valid_size:
            unused = (
                f"{root}: landmarks pack has split off the validation pictures: the validation size plays no part"
            )
            folder = replace(folder, notes=(*folder.notes, unused))
        return decode_folder(folder, cache_folder, shards=shards, progress=progress)
    folder = read_data_folder(
        root, valid_size=settings.valid_size, seed=settings.seed, limit=settings.limit, cache=cache_folder
    )
    return decode_folder(folder, cache_folder, progress=progress)


def decode_folder(
    folder: DataFolder, cache_folder: Path, *, shards: ShardSet | None = None, progress: Progress | None = None
) -> Data:
    """Decode the images of a data set and compute the mean and deviation of its training images.

    Args:
        folder: Its splits.
        cache_folder: Folder for decoded images.
        shards: Where its training images are, if not in the folder; then they are not read.
        progress: Called with the number of decoded images.

    Raises:
        DataError: A class or a split has no readable image.
        StorageError: The cache cannot be written.
    """
    paths = [sample.path for sample in (*folder.train, *folder.valid, *folder.test)]
    pictures = build_cache(sorted(paths), cache_folder, side=Preprocessing().resize, progress=progress)
    folder = folder.without(item.path for item in pictures.broken)
    if shards is not None:
        mean, std = shards.mean, shards.std
    else:
        mean, std = channel_statistics(pictures, [sample.path for sample in folder.train], cache_folder)
    preprocessing = Preprocessing(mean=mean, std=std)
    return Data(folder, pictures, cache_folder, pictures.broken, preprocessing, shards)


def _check_streamed(settings: DataSettings) -> None:
    """Refuse settings that need a list of all training images."""
    refused = {"`limit`": settings.limit is not None, f"`sampler` {settings.sampler}": settings.sampler != "plain"}
    for argument, given in refused.items():
        if given:
            raise SettingsError(f"{argument} cannot be used with shards, which are read in order: leave it out")


def get_data_loaders(
    root: Path,
    *,
    batch_size: int = 64,
    valid_size: float = 0.15,
    num_workers: int = 0,
    limit: int | None = None,
    sampler: Sampler = "plain",
    augment: AugmentSettings | None = None,
    seed: int = 0,
    cache: Path | None = None,
) -> dict[str, Loader]:
    """Build the loaders of an image folder in one call; `prepare_data` and `make_loaders` are its two halves.

    Args:
        root: Folder with `train/` and `test/`, or with one folder per class.
        batch_size: Images per batch.
        valid_size: Fraction of the training images kept for validation, in (0, 1).
        num_workers: Loader processes; 0 loads in this process.
        limit: At most this many training images, drawn evenly over the classes, or None for all.
        sampler: How often each class is drawn; see `DataSettings`.
        augment: Augmentation of training images, or None for the default.
        seed: Seed of the split.
        cache: Folder for decoded images, or None for the user's cache folder.

    Returns:
        As `make_loaders`.

    Raises:
        DataError: The folder does not hold what training needs.
        SettingsError: A value is out of range.
        StorageError: The cache cannot be written.
    """
    settings = DataSettings(batch_size, valid_size, num_workers, limit, sampler, seed)
    data = prepare_data(root, settings, cache=cache)
    return make_loaders(data, settings, augment or AugmentSettings())


def make_loaders(
    data: Data,
    settings: DataSettings,
    augment: AugmentSettings,
    *,
    preprocessing: Preprocessing | None = None,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> dict[str, Loader]:
    """Build the loaders of the three splits.

    Args:
        data: From `prepare_data`.
        settings: Batch size, sampler and workers.
        augment: Augmentation of training images.
        preprocessing: The preprocessing of a network with a mean and deviation of its own (a pretrained backbone),
            or None to use those of the data.
        rank: Which training process this is, from 0.
        world_size: Number of training processes.
        pin_memory: Put batches in memory from which an NVIDIA GPU copies them while it computes.

    Returns:
        `train`, `valid` and `test`. Each yields (images, targets): float32 (B, 3, S, S), normalised; and
        int64 (B,), or float32 (B, K) if MixUp or CutMix blended a training batch. Training batches are random
        crops of the last of `augment.sizes` until `set_train_size` is called, the others centre crops. The order
        and the augmentation follow torch's global seed.
    """
    contract = preprocessing or data.preprocessing
    classes = data.folder.classes
    mixes = augment.mixes
    transform = TrainTransform(augment, augment.sizes[-1], contract)
    if data.shards is not None:
        size = min(settings.batch_size, data.train_size)
        streamed = ShardDataset(data.shards, transform, size, rank=rank, world_size=world_size, seed=settings.seed)
        how: dict[str, Any] = {"dataset": streamed, "batch_size": size // world_size}
    else:
        pictures = PictureDataset(data.cache, data.folder.train, transform, classes)
        sampler = DistributedBatchSampler(
            len(pictures),
            settings.batch_size,
            rank=rank,
            world_size=world_size,
            seed=settings.seed,
            weights=sampling_weights([sample.label for sample in data.folder.train], settings.sampler),
        )
        how = {"dataset": pictures, "batch_sampler": sampler}
    collate = Collate(contract, len(classes), mixes, augment.mix_probability)
    shared: dict[str, Any] = {"num_workers": settings.workers, "pin_memory": pin_memory}
    loaders: dict[str, Loader] = {"train": DataLoader(**how, **shared, collate_fn=collate)}
    for name, samples in (("valid", data.folder.valid), ("test", data.folder.test)):
        loaders[name] = DataLoader(
            dataset=PictureDataset(data.cache, samples, EvalTransform(contract), classes),
            batch_size=local_batch_size(settings.batch_size, world_size),
            sampler=DistributedEvalSampler(len(samples), rank=rank, world_size=world_size),
            collate_fn=Collate(contract, len(classes)),
            **shared,
        )
    return loaders


def set_train_size(loader: Loader, augment: AugmentSettings, size: int, preprocessing: Preprocessing) -> None:
    """Make a training loader of this package yield crops of `size` pixels from its next epoch on."""
    if isinstance(loader.dataset, PictureDataset | ShardDataset):
        loader.dataset.transform = TrainTransform(augment, size, preprocessing)


def visualize_one_batch(loaders: dict[str, Loader], path: Path, *, count: int = 8, seed: int = 0) -> None:
    """Save a PNG of training images before and after augmentation.

    MixUp and CutMix, which blend whole batches, are not shown.

    Args:
        loaders: From `get_data_loaders`.
        path: The PNG to write.
        count: Number of images, drawn with `seed`.
        seed: Seed of the draw and of the augmentation.
    """
    training = cast(PictureDataset, loaders["train"].dataset)
    if isinstance(training, ShardDataset):
        raise DataError("a batch of shards cannot be shown: give the folder that they were packed from")
    plain = cast(PictureDataset, loaders["valid"].dataset).transform
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(training), generator=generator)[:count].tolist()
    shown = display_names(training.classes)
    before, after, titles = [], [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for position in order:
            sample = training.samples[position]
            picture = training.cache.picture(sample.path)
            before.append(plain(picture).permute(1, 2, 0).numpy())
            after.append(training.transform(picture).permute(1, 2, 0).numpy())
            titles.append(shown[training.classes[sample.label]])
    save_figure(sample_batch(before, after, titles), path)
