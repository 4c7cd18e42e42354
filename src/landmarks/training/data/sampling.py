"""Which pictures of an epoch a process sees: its share of every batch, none twice and none lost.

All processes draw the same order from the same seed and cut it into the same batches as one process would; each
then takes its own part of every batch. Two devices so learn from the very batches that one device learns from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler


@dataclass(frozen=True)
class Share:
    """One process among those that train together.

    Attributes:
        rank: Which one, from 0.
        processes: How many there are, at least 1.
    """

    rank: int = 0
    processes: int = 1


@runtime_checkable
class Shuffled(Protocol):
    """What draws the order of an epoch."""

    def reseed(self, seed: int) -> None:
        """Draw the next order from `seed`, the same in all processes."""


class EpochBatches(Sampler[list[int]]):
    """The training batches of an epoch, of which each process gets its part.

    Args:
        count: How many pictures there are, at least `batch_size` where several processes share them.
        batch_size: Pictures of a batch over all processes; a multiple of their number.
        share: Which process this is.
        weights: How often to draw each picture, relative to the others, with replacement; None to see each once.

    An incomplete last batch is left out, because one picture would break batch normalisation; its pictures come
    in other epochs. Fewer pictures than a batch are one batch.
    """

    def __init__(
        self, count: int, batch_size: int, share: Share, *, weights: Sequence[float] | None = None
    ) -> None:
        self._count = count
        self._batch_size = min(batch_size, count)
        self._share = share
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self._generator: torch.Generator | None = None

    def reseed(self, seed: int) -> None:
        """Draw the orders from here on from `seed`; without it they follow torch's global seed."""
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self._count // self._batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order, size = self._order(), self._batch_size // self._share.processes
        for batch in range(len(self)):
            start = batch * self._batch_size + self._share.rank * size
            yield order[start : start + size].tolist()

    def _order(self) -> Tensor:
        if self._weights is None:
            return torch.randperm(self._count, generator=self._generator)
        return torch.multinomial(self._weights, self._count, replacement=True, generator=self._generator)


class EveryNth(Sampler[int]):
    """The pictures of validation that a process measures: each picture in one process, without padding.

    Args:
        count: How many pictures there are.
        share: Which process this is.
    """

    def __init__(self, count: int, share: Share) -> None:
        self._positions = range(share.rank, count, share.processes)

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[int]:
        return iter(self._positions)


def share_of_batch(batch_size: int, share: Share) -> int:
    """Return how many pictures of a batch a process takes at most, at least 1."""
    return math.ceil(batch_size / share.processes)


def start_epoch(loader: DataLoader[Any], seed: int) -> None:
    """Let a loader draw the order of its next epoch from `seed`, where it is one that can be told."""
    for part in (loader.batch_sampler, loader.dataset):
        if isinstance(part, Shuffled):
            part.reseed(seed)
