"""Samplers: which images of an epoch a process sees. Each gets its part of every batch, without repeats or gaps.

All processes draw the same order from the same seed and split it into the same batches as one process would; each
then takes its own part of every batch. Two devices thus train on exactly the batches that one device would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from landmarks.errors import require_choice
from landmarks.training.config.settings import Sampler as SamplerName

FREQUENCY_POWERS: Mapping[SamplerName, float] = {"plain": 1.0, "sqrt": 0.5, "balanced": 0.0}
"""A class of n training images is drawn in proportion to n to this power."""


@runtime_checkable
class Shuffled(Protocol):
    """A sampler or data set that draws the order of an epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Draw the next order from the seed and `epoch`, the same in all processes."""


class DistributedBatchSampler(Sampler[list[int]]):
    """The training batches of an epoch, of which each process gets its part.

    An incomplete last batch is dropped, because a single image would break batch normalisation; its images come
    in other epochs. Fewer images than `batch_size` make one batch.

    Args:
        count: Number of images, at least `batch_size` if several processes share them.
        batch_size: Images per batch over all processes, a multiple of `world_size`.
        rank: Rank of this process, from 0.
        world_size: Number of processes.
        seed: Seed of the orders, from the first `set_epoch` on; before, they follow torch's global seed.
        weights: Relative sampling weight of each image, with replacement; None to see each once.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        weights: Sequence[float] | None = None,
    ) -> None:
        self._count = count
        self._batch_size = min(batch_size, count)
        self._rank, self._world_size = rank, world_size
        self._seed = seed
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self._generator: torch.Generator | None = None

    def set_epoch(self, epoch: int) -> None:
        """Draw the next order from the seed and `epoch`."""
        self._generator = torch.Generator().manual_seed(seed_of(self._seed, epoch))

    def __len__(self) -> int:
        return self._count // self._batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order, size = self._order(), self._batch_size // self._world_size
        for batch in range(len(self)):
            start = batch * self._batch_size + self._rank * size
            yield order[start : start + size].tolist()

    def _order(self) -> Tensor:
        if self._weights is None:
            return torch.randperm(self._count, generator=self._generator)
        return torch.multinomial(self._weights, self._count, replacement=True, generator=self._generator)


class DistributedEvalSampler(Sampler[int]):
    """The validation images of a process: each image in exactly one process, without padding.

    Args:
        count: Number of images.
        rank: Rank of this process, from 0.
        world_size: Number of processes.
    """

    def __init__(self, count: int, *, rank: int = 0, world_size: int = 1) -> None:
        self._positions = range(rank, count, world_size)

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[int]:
        return iter(self._positions)


def local_batch_size(batch_size: int, world_size: int) -> int:
    """Return the maximum number of images of a batch per process, at least 1."""
    return math.ceil(batch_size / world_size)


def seed_of(seed: int, epoch: int) -> int:
    """Return the seed of an epoch of a run with this seed."""
    return seed * 1_000_003 + epoch


def set_epoch(loader: DataLoader[Any], epoch: int) -> None:
    """Make a loader draw the order of `epoch`, if it shuffles by epoch."""
    for part in (loader.batch_sampler, loader.dataset):
        if isinstance(part, Shuffled):
            part.set_epoch(epoch)


@runtime_checkable
class Counted(Protocol):
    """A data set that knows how many training images each class has."""

    @property
    def class_counts(self) -> Sequence[int]:
        """Images by class, in the order of the labels."""


def class_counts_of(loader: DataLoader[Any]) -> Sequence[int]:
    """Return the number of images of each class behind a training loader.

    Raises:
        TypeError: Its data set does not know.
    """
    if not isinstance(loader.dataset, Counted):
        raise TypeError(f"{type(loader.dataset).__name__} does not count the images of its classes")
    return loader.dataset.class_counts


def sampling_weights(labels: Sequence[int], sampler: SamplerName) -> list[float] | None:
    """Return the relative sampling weight of each image, or None to show each once per epoch.

    Args:
        labels: Class of each image.
        sampler: A key of `FREQUENCY_POWERS`.

    Raises:
        SettingsError: There is no such sampler.
    """
    require_choice("sampler", sampler, tuple(FREQUENCY_POWERS))
    power = FREQUENCY_POWERS[sampler]
    if power == 1:
        return None
    counts = np.bincount(labels).astype(np.float64)
    weights: list[float] = (np.maximum(counts, 1.0) ** (power - 1))[np.asarray(labels)].tolist()
    return weights
